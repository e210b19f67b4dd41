"""A service as a process: what it is started with, and what it holds, seen from outside."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel

from agentic_fleet.testing import Fleet, Reply, ScriptedModel
from agentic_fleet.testing.fleet import environment


def environ(home: Path, fake: ScriptedModel, **more: str) -> dict[str, str]:
    return environment(home, {"model": "scripted", "openai_base_url": fake.base_url}, more)


def slow(fake: ScriptedModel, after: int = 2) -> None:
    """From now on the model says `after` words and then nothing more."""
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["word "] * 10, hold_after=(after, held))


def descriptors(fleet: Fleet) -> int:
    return len(os.listdir(f"/proc/{fleet.pid}/fd"))


def resident(fleet: Fleet) -> int:
    """Bytes of its memory that are in use."""
    pages = int(Path(f"/proc/{fleet.pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def metric(fleet: Fleet, name: str) -> float:
    lines = (await fleet.http.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


async def streams_are(fleet: Fleet, count: int) -> None:
    """Return when so many streams and sockets are open; the caller bounds the wait."""
    while await metric(fleet, "fleet_streams_open") != count:
        await anyio.lowlevel.checkpoint()


async def until(holds: Callable[[], bool]) -> None:
    """Look at something that tells nobody when it changes, a file for example."""
    with anyio.fail_after(30):
        while True:
            if holds():
                return
            await anyio.sleep(0.01)

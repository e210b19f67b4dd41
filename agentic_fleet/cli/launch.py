"""Which service a command asks: the one named, the one that answers at FLEET_HOST and FLEET_PORT, or one of its own."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

import agentic_fleet
from agentic_fleet.cli.client import Unreachable, host

APP = Path(agentic_fleet.__file__).parent.parent / "app.py"
PATIENCE = 60.0
"""Seconds a service of our own may take to start, and again for its model."""
LOOK = 0.2
"""Seconds between two looks whether the model has started."""


@asynccontextmanager
async def reached(url: str | None, *, launch: bool = True) -> AsyncIterator[str]:
    """The address to ask, without a slash at its end.

    `launch`: when nobody answers, start a service for the block. Raises Unreachable when it does not start.
    """
    base = url or _address()
    if url or not launch or await _status(f"{base}/ready") in (200, 503):
        yield base.rstrip("/")
        return
    print(f"No service at {base} (FLEET_PORT or --url name another): starting one for this.", file=sys.stderr)
    # When we leave, nobody reads its runs any more: no grace.
    environ = {**os.environ, "FLEET_PORT": "0", "FLEET_HOST": "127.0.0.1", "FLEET_DRAIN_GRACE": "0"}
    environ.setdefault("FLEET_LOG_LEVEL", "ERROR")
    with anyio.CancelScope(shield=True):  # cut off in its middle, it would leave a process that nobody waits for
        # A session of its own, so that our Ctrl-C cancels the run instead of killing the service under it.
        process = await anyio.open_process(
            [sys.executable, str(APP)], env=environ, stderr=None, stdin=subprocess.DEVNULL, start_new_session=True
        )
    async with process:
        try:
            with _bar() as (bar, line):
                own = await _greeting(process)
                bar.update(line, description="Loading the model")
                await _loaded(own)
            yield own
        finally:
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(5, shield=True):
                    await process.wait()


def _address() -> str:
    """Where a service with the settings of this environment listens, seen from this machine."""
    named, port = os.environ.get("FLEET_HOST") or "127.0.0.1", os.environ.get("FLEET_PORT") or "8000"
    named = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(named, named)
    return f"http://[{named}]:{port}" if ":" in named else f"http://{named}:{port}"


@contextmanager
def _bar() -> Iterator[tuple[Progress, TaskID]]:
    """How long it has been taking, for a person; how long it will take nobody knows."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar, bar.add_task("Starting the service", total=None)


async def _greeting(process: Process) -> str:
    """The address that a starting service prints."""
    assert process.stdout is not None
    text = ""
    with anyio.move_on_after(PATIENCE):
        async for part in TextReceiveStream(process.stdout):
            text += part
            if found := re.search(r"^AgenticFleet \S+ on (http://\S+)\s", text, re.MULTILINE):
                return found[1]
        await process.wait()  # to terminate what is ending by itself would race with whoever collects its exit code
    raise Unreachable("The service did not start: see above, or what scripts/serve says.")


async def _loaded(base: str) -> None:
    """Return when its model has started, or could not; or when a run may as well wait for it."""
    with anyio.move_on_after(PATIENCE):
        status = await _status(f"{base}/ready")
        while status == 503:
            await anyio.sleep(LOOK)
            status = await _status(f"{base}/ready")


async def _status(url: str) -> int | None:
    """None when nobody answers."""
    try:
        async with (
            aiohttp.ClientSession(headers=host(os.environ), timeout=aiohttp.ClientTimeout(2)) as http,
            http.get(url) as reply,
        ):
            return reply.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None

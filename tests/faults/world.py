"""A service that can crash, runs that do as they are told, and readers that are cut and come back: for test_machine.py.

A crash is the end of a copy: its files as they are at a moment, which is what kill -9 leaves, are what the next life
opens, and whatever the former one still does reaches nobody.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
from anyio import to_thread

from agentic_fleet.errors import ModelFailed
from agentic_fleet.testing import Event as TypedEvent
from agentic_fleet.testing import Events, Relay, relay
from agentic_fleet.turns import Emit, Pause, Result, Turn
from tests.edge.fronts import seen_at
from tests.faults.test_wires import BROKEN
from tests.script import answer, question, token
from tests.web.site import Event, Site, site
from tests.web.transport import Socket, Sse, Transport

PATIENCE = 20.0
"""Seconds for anything that the world is asked to do."""
TRANSPORTS: tuple[Transport, Transport] = (Sse(), Socket())


@dataclass(eq=False)
class Reader:
    """One of a run's two, which reads from the far end of the wire for as long as that holds."""

    run_id: str
    transport: Transport
    seen: list[Event] = field(default_factory=list)
    reading: anyio.CancelScope | None = None

    @property
    def after(self) -> int:
        return int(self.seen[-1]["id"].split(":")[1]) if self.seen else 0

    async def read(self, there: Site) -> None:
        """Up to the next `done`, or until the wire breaks."""
        with anyio.CancelScope() as self.reading:
            try:
                async with self.transport.follow(there, self.run_id, self.after) as reader:
                    while True:
                        self.seen.append(await reader.next())
                        if self.seen[-1]["type"] == "done":
                            break
            except (*BROKEN, StopAsyncIteration):
                pass
        self.reading = None

    def hang_up(self) -> None:
        if self.reading:
            self.reading.cancel()


class Puppets:
    """The workflow: every run carries out what is said to it, in its order, over all its lives."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._said = anyio.Event()
        self._asked = 0

    def say(self, run_id: str, *words: str) -> None:
        self._lines.setdefault(run_id, []).extend(words)
        self._said.set()
        self._said = anyio.Event()

    async def __call__(self, turn: Turn, emit: Emit) -> Result | Pause:
        while True:
            match await self._next(turn.run_id):
                case "ask":
                    self._asked += 1
                    return Pause(requests=(question(f"q{self._asked}"),))
                case "finish":
                    return answer("That is all.")
                case "fail":
                    raise ModelFailed("The model broke off.")
                case word:
                    await emit(token(word))

    async def _next(self, run_id: str) -> str:
        while not self._lines.get(run_id):
            await self._said.wait()
        return self._lines[run_id].pop(0)


class World:
    """One life of the service after the other; the folder of each is the copy of the one before."""

    def __init__(self, folder: Path) -> None:
        self.puppets = Puppets()
        self.readers: list[Reader] = []
        self.runs: list[str] = []
        self._folder = folder
        self._life = 0
        self.it: Site
        self._there: Site
        self._wire: Relay

    @property
    def _file(self) -> Path:
        return self._folder / f"life-{self._life}.db"

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        knobs: dict[str, Any] = {"patience": 600, "run_rate": 0, "frame_rate": 0, "max_runs": 100, "heartbeat": 0.05}
        async with site(self.puppets, file=self._file, **knobs) as self.it, relay(self.it.url) as self._wire:
            async with seen_at(self.it, self._wire.url) as self._there, anyio.create_task_group() as self._tasks:
                yield
                self._tasks.cancel_scope.cancel("this life is over")

    async def die(self, *last_words: str) -> None:
        """Keep what kill -9 would leave now, for the next life. Nobody reads what comes after.

        `last_words` are said to every run first: the end comes when one of the readers has heard some of them.
        """
        told = sum(len(reader.seen) for reader in self.readers)
        for run_id in self.runs:
            self.puppets.say(run_id, *last_words)
        with anyio.move_on_after(0.05):  # when nobody listens
            while last_words and sum(len(reader.seen) for reader in self.readers) == told:
                await anyio.lowlevel.checkpoint()
        for reader in self.readers:
            reader.hang_up()
        self._wire.cut()
        before = self._file
        self._life += 1
        await to_thread.run_sync(_copy, before, self._file)

    async def start(self) -> str:
        run_id = str((await self.it.start("go"))["run_id"])
        self.runs.append(run_id)
        mine = [Reader(run_id, transport) for transport in TRANSPORTS]
        self.readers += mine
        await self.connect(mine[len(self.runs) % 2])
        return run_id

    async def state(self, run_id: str) -> Event:
        state: Event = await self.it.get(f"/api/v1/runs/{run_id}")
        return state

    async def post(self, run_id: str, what: str, body: Any = None) -> httpx.Response:
        with anyio.fail_after(PATIENCE):
            return await self.it.http.post(f"/api/v1/runs/{run_id}/{what}", json=body)

    async def connect(self, reader: Reader) -> None:
        """Let it read, unless it does, or has everything."""
        state = await self.state(reader.run_id)
        if reader.reading is None and (_is_live(state) or state["last_event_id"] != f"{reader.run_id}:{reader.after}"):
            self._tasks.start_soon(reader.read, self._there)

    async def cut(self, *, reset: bool) -> None:
        self._wire.reset() if reset else self._wire.cut()

    async def log(self, run_id: str) -> list[Event]:
        headers = {"Accept": "application/json"}
        page = await self.it.http.get(f"/api/v1/runs/{run_id}/events?limit=1000", headers=headers)
        events: list[Event] = page.json()["events"]
        return events

    async def read_on(self, reader: Reader) -> list[Event]:
        """All that it has seen, when it has read to the end of a run that has ended; and the log."""
        log = await self.log(reader.run_id)
        with anyio.fail_after(PATIENCE):
            while len(reader.seen) < len(log):
                if reader.reading is None:
                    await reader.read(self._there)
                else:
                    await anyio.lowlevel.checkpoint()
        return log


def typed(events: list[Event]) -> Events:
    return Events(msgspec.convert(event, TypedEvent) for event in events)


def _is_live(state: Event) -> bool:
    return state["status"] in ("created", "running", "waiting")


def _copy(before: Path, after: Path) -> None:
    """The database as it is on the disk. Its lock is held meanwhile, for files are not copied in one moment."""
    with closing(sqlite3.connect(before, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        for end in ("", "-wal"):
            shutil.copyfile(f"{before}{end}", f"{after}{end}")
        db.execute("ROLLBACK")

"""Runs over either store, with a workflow that the test plays."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import Ask, RunState, Workflow

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=["sqlite", "memory"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same store each time: closing and opening it again is a restart."""
    memory = MemoryStore()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        if request.param == "memory":
            yield memory
        else:
            async with open_sqlite(tmp_path / "fleet.db") as store:
                yield store

    return opened


@asynccontextmanager
async def running(open_store: OpenStore, workflow: Workflow, **knobs: float) -> AsyncIterator[tuple[Runs, Store]]:
    async with open_store() as store, Runs.open(store, workflow, Settings(**knobs)) as runs:  # type: ignore[arg-type]  # knobs of any kind
        yield runs, store


async def ask(runs: Runs, message: str = "one two three", conversation: str = "c1", **more: str) -> RunState:
    return await runs.start(conversation, Ask(message=message, **more), create=True)  # type: ignore[arg-type]  # literals

"""The stores under test."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.reader import open_reader
from agentic_fleet.store.sqlite import SqliteStore, open_sqlite
from agentic_fleet.store.writer import Writer, open_writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.db"


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Store]:
    """Each of the two: what a test says with this fixture is what every store promises."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        async with open_sqlite(path) as opened:
            yield opened


@dataclass(frozen=True)
class OpenFile:
    """A store of the embedded kind with its writer, through which a test reaches the connection."""

    store: SqliteStore
    writer: Writer

    async def pragma(self, text: str) -> None:
        await self.writer.write(lambda db: db.execute(f"PRAGMA {text}").fetchall())

    async def statements(self) -> list[str]:
        """What the writer's connection executes from now on; the list grows."""
        seen: list[str] = []
        await self.writer.write(lambda db: db.set_trace_callback(seen.append))
        return seen


@pytest.fixture
async def file(path: Path) -> AsyncIterator[OpenFile]:
    async with open_writer(path) as writer, open_reader(path) as reader:
        yield OpenFile(SqliteStore(writer, reader), writer)

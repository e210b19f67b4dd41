"""The reading connection: short queries in a worker thread, beside the writer and never waiting for it.

Each query sees one moment of the database. None stays open over an `await`: in WAL mode an open one would keep the log
file from being reused, and it would grow without limit.
"""

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, move_on_after, to_thread

from agentic_fleet.store.connection import connect, translated

CLOSE_TIMEOUT = 5.0  # seconds; a query takes milliseconds

T = TypeVar("T")


class Reader:
    def __init__(self, connection: sqlite3.Connection, turn: CapacityLimiter) -> None:
        self._connection = connection
        self._turn = turn
        self._busy = threading.Lock()

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns; it runs in a worker thread, one at a time, in the order of the calls. StoreFailed."""
        return await to_thread.run_sync(self._snapshot, query, limiter=self._turn)

    def close(self) -> None:
        with self._busy:
            self._connection.close()

    def _snapshot(self, query: Callable[[sqlite3.Connection], T]) -> T:
        # The lock beside the turn: who is cancelled by asyncio itself, as the framework's tasks are (framework.py),
        # loses the turn at once, while the query is still at work in its thread.
        with self._busy, translated():
            self._connection.execute("BEGIN")
            try:
                return query(self._connection)
            finally:
                self._connection.rollback()


@asynccontextmanager
async def open_reader(path: Path) -> AsyncIterator[Reader]:
    """A reader of a database that a writer has open. It owns the connection."""
    turn = CapacityLimiter(1)  # a connection serves one thread at a time
    reader = Reader(await to_thread.run_sync(_open, path, limiter=turn), turn)
    try:
        yield reader
    finally:
        with move_on_after(CLOSE_TIMEOUT, shield=True):
            await to_thread.run_sync(reader.close, limiter=turn)


def _open(path: Path) -> sqlite3.Connection:
    with translated():
        connection = connect(path)
        connection.execute("PRAGMA query_only = ON")
        return connection

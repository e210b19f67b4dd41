"""The reading connection: short queries in a worker thread, beside the writer and never waiting for it.

Each query sees one moment of the database. None stays open over an `await`: in WAL mode an open one would keep the log
file from being reused, and it would grow without limit.
"""

import sqlite3
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

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` returns; it runs in a worker thread, one at a time, in the order of the calls. StoreFailed."""
        return await to_thread.run_sync(self._snapshot, query, limiter=self._turn)

    def _snapshot(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with translated():
            self._connection.execute("BEGIN")
            try:
                return query(self._connection)
            finally:
                self._connection.rollback()


@asynccontextmanager
async def open_reader(path: Path) -> AsyncIterator[Reader]:
    """A reader of a database that a writer has open. It owns the connection."""
    turn = CapacityLimiter(1)  # a connection serves one thread at a time
    connection = await to_thread.run_sync(_open, path, limiter=turn)
    try:
        yield Reader(connection, turn)
    finally:
        with move_on_after(CLOSE_TIMEOUT, shield=True):
            await to_thread.run_sync(connection.close, limiter=turn)


def _open(path: Path) -> sqlite3.Connection:
    with translated():
        connection = connect(path)
        connection.execute("PRAGMA query_only = ON")
        return connection

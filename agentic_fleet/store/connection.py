"""One SQLite connection, opened as this store needs it, and what the driver's errors mean to everybody else.

The driver's errors name tables and files, so they stay here: they are logged once, and others see a plain sentence.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentic_fleet.errors import StoreFailed, StoreUnavailable

BUSY_TIMEOUT = 10.0
"""Seconds to wait for a lock another process holds: far above any transaction of ours, below a client's patience."""

logger = logging.getLogger(__name__)

_REASONS = {
    sqlite3.SQLITE_FULL: "The disk is full.",
    sqlite3.SQLITE_BUSY: "The database is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The database is locked by another process.",
}


def connect(path: Path) -> sqlite3.Connection:
    """A connection for any thread, but for one at a time; transactions are begun by hand."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # savepoints of ours would make and drop a file each
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it, inside a transaction or as one. What was around it goes on, unless the failure
    has ended that, too: some failures of the medium do (`in_transaction` is False then)."""
    connection.execute("SAVEPOINT block")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO block")
            connection.execute("RELEASE block")
        raise
    connection.execute("RELEASE block")


def explained(error: sqlite3.Error) -> StoreFailed:
    """Logs the detail and returns the failure that may be shown."""
    logger.warning("the database failed: %s (%s)", error, getattr(error, "sqlite_errorname", type(error).__name__))
    code = getattr(error, "sqlite_errorcode", 0)  # missing when the driver, not SQLite, objects
    if reason := _REASONS.get(code & 0xFF):  # the low byte is the primary result code
        return StoreUnavailable(reason)
    return StoreFailed("The database failed.")


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into StoreFailed."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(error) from error

"""The one writer: takes every job that waits, runs them in one transaction, and wakes each caller with its outcome.

Committing costs far more than inserting, so fifty runs that append at the same time pay for one commit, and nobody
waits for a lock inside the process. The writer goes on while its owner is being cancelled, because the last events of
the runs are written just then; it ends when its queue has been closed and is empty.
"""

import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread

from agentic_fleet.errors import StoreFailed, StoreUnavailable
from agentic_fleet.store.connection import connect, explained, savepoint, translated
from agentic_fleet.store.schema import migrate

MAX_BATCH = 500
"""Jobs per transaction, and jobs in the queue (more callers wait for a place): some 40 ms of work on two cores."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the jobs that wait when the store closes; then the rest is refused. Also for the last checkpoint."""

T = TypeVar("T")
Observer = Callable[[float], None]


def unheard(seconds: float) -> None:
    """An Observer that observes nothing."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Job(Generic[T]):
    work: Callable[[sqlite3.Connection], T]
    durable: bool
    whole: bool
    begun: bool = False
    withdrawn: bool = False
    finished: anyio.Event = field(default_factory=anyio.Event)
    result: T = field(init=False)
    error: Exception | None = None

    def begin(self) -> bool:
        """Whether it still has to be done."""
        self.begun = True  # before the look at `withdrawn`, as `_too_late` does it the other way round
        return not self.withdrawn


class Writer:
    def __init__(self, connection: sqlite3.Connection, written: Observer) -> None:
        self._connection = connection
        self._written = written
        self._turn = CapacityLimiter(1)  # a connection serves one thread at a time
        self._inbox, self._waiting = anyio.create_memory_object_stream[_Job[Any]](MAX_BATCH)
        self._give_up_at = math.inf
        self._synchronous: str | None = None

    async def write(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        durable: bool = False,
        certain: bool = False,
        whole: bool = False,
    ) -> T:
        """What `work` returns, once it is committed; or what it raises, and then nothing of it is kept.

        `work` runs in a worker thread and inside a transaction that it neither begins nor ends; `whole` work also makes
        do without one, as a single statement does. `durable` work outlives a power cut, any other outlives the end of
        the process. Callers are served in order; one that is cancelled stops waiting, and its work may still happen;
        `certain` work then has not happened, and what had begun is waited for. StoreFailed when the database fails or
        is closed.
        """
        return await self._done(_Job(work=work, durable=durable, whole=whole), certain=certain)

    async def _done(self, job: _Job[T], *, certain: bool) -> T:
        since = time.monotonic()
        try:
            await self._put(job)
        except anyio.ClosedResourceError:
            raise StoreUnavailable("The store is closed.") from None
        try:
            await job.finished.wait()
        except BaseException:
            if not (certain and await _too_late(job)):
                raise
        if job.error:
            raise job.error
        self._written(time.monotonic() - since)
        return job.result

    async def _put(self, job: _Job[Any]) -> None:
        """Without a turn of the event loop when there is room, as there nearly always is."""
        try:
            self._inbox.send_nowait(job)
        except anyio.WouldBlock:
            await self._inbox.send(job)

    def close(self) -> None:
        """Refuse new work and let `run` end when it has done, or after CLOSE_TIMEOUT refused, what waits."""
        self._give_up_at = anyio.current_time() + CLOSE_TIMEOUT
        self._inbox.close()

    async def run(self) -> None:
        """Serve until closed."""
        with CancelScope(shield=True), self._waiting:
            async for job in self._waiting:
                batch = [job, *self._more()]
                if anyio.current_time() < self._give_up_at:
                    await to_thread.run_sync(self._transact, batch, limiter=self._turn)
                else:
                    _refuse(batch, StoreUnavailable("The store is closed."))
                for job in batch:
                    job.finished.set()

    def _more(self) -> list[_Job[Any]]:
        jobs: list[_Job[Any]] = []
        try:
            while len(jobs) < MAX_BATCH - 1:
                jobs.append(self._waiting.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            pass
        return jobs

    def _transact(self, batch: list[_Job[Any]]) -> None:
        connection = self._connection
        try:
            self._synchronize(durable=any(job.durable for job in batch))
            if len(batch) == 1 and batch[0].whole:  # mere words: a transaction by hand would be three more statements
                self._attempt(batch[0])
                connection.rollback()  # does nothing, unless what it did could not be committed
                return
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._attempt(job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            connection.rollback()  # does nothing when SQLite has rolled back already
            _refuse(batch, explained(error))

    def _attempt(self, job: _Job[Any]) -> None:
        """One job, in its own savepoint inside a transaction: when it fails, its neighbours there are kept."""
        if not job.begin():
            return
        within = self._connection.in_transaction
        try:
            with savepoint(self._connection) if within else nullcontext():
                job.result = job.work(self._connection)
        except Exception as error:  # the boundary of a job: whatever it raised is its caller's
            if within and not self._connection.in_transaction:
                raise
            job.error = explained(error) if isinstance(error, sqlite3.Error) else error

    def _synchronize(self, *, durable: bool) -> None:
        """FULL has the commit wait for the disk, NORMAL leaves that to the next checkpoint.

        Losing power under NORMAL loses the newest commits whole and corrupts nothing: for a few words of a run that
        broke off anyway, that is a fair price for being many times faster. Starts and endings are promises.
        SQLite ignores the change inside a transaction, hence before it.
        """
        level = "FULL" if durable else "NORMAL"
        if level != self._synchronous:
            self._connection.execute(f"PRAGMA synchronous = {level}")
            self._synchronous = level


@asynccontextmanager
async def open_writer(path: Path, written: Observer = unheard) -> AsyncIterator[Writer]:
    """The writer of the database at `path`, made or migrated first. Leaving finishes what waits. StoreFailed."""
    connection = await to_thread.run_sync(_open, path)
    writer = Writer(connection, written)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            try:
                yield writer
            finally:
                writer.close()
    finally:
        with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await to_thread.run_sync(_close, connection)


async def _too_late(job: _Job[Any]) -> bool:
    """Withdraw a job. Whether it has happened all the same, or has failed: only the rest of its transaction was
    waited for then, because one that waits for a lock has begun no job, unless it is a whole one."""
    job.withdrawn = True
    if job.begun:
        with CancelScope(shield=True):
            await job.finished.wait()
    return job.begun and (job.error is not None or hasattr(job, "result"))


def _refuse(batch: list[_Job[Any]], failure: StoreFailed) -> None:
    for job in batch:
        job.error = type(failure)(str(failure))


def _open(path: Path) -> sqlite3.Connection:
    with translated():
        connection = connect(path)
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _close(connection: sqlite3.Connection) -> None:
    """Empties the WAL into the database file, so that the file alone is the store. Without luck, nothing is lost."""
    try:
        connection.execute("PRAGMA busy_timeout = 1000")  # another process may be reading: no reason not to leave
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        explained(error)
    finally:
        connection.close()

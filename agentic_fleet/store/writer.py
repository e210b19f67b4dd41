"""The one writer: takes every job that waits, runs them in one transaction, and wakes each caller with its outcome.

Committing costs far more than inserting, so fifty runs that append at the same time pay for one commit, and nobody
waits for a lock inside the process. The writer goes on while its owner is being cancelled, because the last events of
the runs are written just then; it ends when its queue has been closed and is empty.
"""

import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread

from agentic_fleet.errors import StoreFailed
from agentic_fleet.store.connection import connect, explain, savepoint, translated
from agentic_fleet.store.schema import migrate

MAX_BATCH = 500
"""Jobs per transaction, and jobs in the queue (more callers wait for a place): some 40 ms of work on two cores."""

GATHERING = 0.003
"""Seconds from one commit of words to the next, at least: what hundreds of tokens a second cost is their commits, not
their rows. The first words after a silence are committed at once, and any other job takes along what waits."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the jobs that wait when the store closes; then the rest is refused. Also for the last checkpoint."""

P = TypeVar("P")
T = TypeVar("T")
Together = Callable[[sqlite3.Connection, list[P]], None]
"""Work that does many parts at once for less than one by one, inside a transaction or as one. When it raises, none of
them has been done."""

Observer = Callable[[float], None]


def unheard(seconds: float) -> None:
    """An Observer that observes nothing."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Job(Generic[T]):
    work: Callable[[sqlite3.Connection], T]
    durable: bool = False
    together: Together[Any] | None = None
    part: Any = None
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
        self._committed_at = -math.inf
        self._hurry = anyio.Event()  # single-use: set when a job must not wait for others
        self._synchronous: str | None = None

    async def write(
        self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False, certain: bool = False
    ) -> T:
        """What `work` returns, once it is committed; or what it raises, and then nothing of it is kept.

        `work` runs in a worker thread and inside a transaction that it neither begins nor ends. `durable` work
        outlives a power cut, any other outlives the end of the process. Callers are served in order; one that is
        cancelled stops waiting, and its work may still happen; `certain` work then has not happened, and what had
        begun is waited for. StoreFailed when the database fails or is closed.
        """
        self._hurry.set()
        return await self._done(_Job(work=work, durable=durable), certain=certain)

    async def join(self, together: Together[P], part: P) -> None:
        """As `write`, certain but not durable, for a part of work that is done with all others that wait for the same.
        It may wait GATHERING for them. A part that spoils it for the others is done alone."""
        job = _Job[None](work=lambda db: together(db, [part]), together=together, part=part)
        await self._done(job, certain=True)

    async def _done(self, job: _Job[T], *, certain: bool) -> T:
        since = time.monotonic()
        try:
            await self._put(job)
        except anyio.ClosedResourceError:
            raise StoreFailed("The store is closed.") from None
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
        self._hurry.set()

    async def run(self) -> None:
        """Serve until closed."""
        with CancelScope(shield=True), self._waiting:
            async for job in self._waiting:
                if job.together:
                    await self._gather()
                self._hurry = anyio.Event()
                self._committed_at = anyio.current_time()
                batch = [job, *self._more()]
                if anyio.current_time() < self._give_up_at:
                    await to_thread.run_sync(self._transact, batch, limiter=self._turn)
                else:
                    _refuse(batch, "The store is closed.")
                for job in batch:
                    job.finished.set()

    async def _gather(self) -> None:
        """Wait for others, unless the last commit was long ago or one of them is in a hurry."""
        # uvloop's clock has milliseconds: it would look again and again at a deadline that is a hair beyond one.
        wait = self._committed_at + GATHERING - anyio.current_time() - 0.0001
        if wait > 0 and not self._hurry.is_set():
            with anyio.move_on_after(wait):
                await self._hurry.wait()

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
            first = batch[0].together
            if first and all(job.together is first for job in batch) and self._done_together(first, batch):
                return  # mere words: no transaction by hand, which would be three more statements
            connection.execute("BEGIN IMMEDIATE")
            for job in self._without_parts(batch):
                self._attempt(job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            connection.rollback()  # does nothing when SQLite has rolled back already
            _refuse(batch, explain(error))

    def _without_parts(self, batch: list[_Job[Any]]) -> list[_Job[Any]]:
        """The jobs that are left when those that go together have been done."""
        left = [job for job in batch if not job.together]
        for work in {job.together for job in batch if job.together}:
            jobs = [job for job in batch if job.together is work]
            if not self._done_together(work, jobs):
                left = jobs + left
        return left

    def _done_together(self, work: Together[Any], jobs: list[_Job[Any]]) -> bool:
        """Whether it went well. If not, it was one of them: who, shows when each is done alone."""
        parts = [job for job in jobs if job.begin()]
        within = self._connection.in_transaction
        try:
            work(self._connection, [job.part for job in parts])
        except Exception:
            if within and not self._connection.in_transaction:
                raise
            return False
        for job in parts:
            job.result = None
        return True

    def _attempt(self, job: _Job[Any]) -> None:
        """One job in its own savepoint: when it fails, its neighbours in the transaction are kept."""
        if not job.begin():
            return
        try:
            with savepoint(self._connection):
                job.result = job.work(self._connection)
        except Exception as error:  # the boundary of a job: whatever it raised is its caller's
            if not self._connection.in_transaction:
                raise
            job.error = StoreFailed(explain(error)) if isinstance(error, sqlite3.Error) else error

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
    waited for then, because one that waits for a lock has begun no job, unless all of it is words."""
    job.withdrawn = True
    if job.begun:
        with CancelScope(shield=True):
            await job.finished.wait()
    return job.begun and (job.error is not None or hasattr(job, "result"))


def _refuse(batch: list[_Job[Any]], reason: str) -> None:
    for job in batch:
        job.error = StoreFailed(reason)


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
        explain(error)
    finally:
        connection.close()

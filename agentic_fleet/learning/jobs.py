"""Optimisation jobs: one at a time, each in a process of its own, and remembered when this one has been restarted.

A job that is through puts the better programs in force, for the next run, before it says so. Its file is written when
it begins and when it has ended: what a process that died left in between has failed.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import msgspec
from anyio.abc import TaskGroup

from agentic_fleet import jsontext
from agentic_fleet.conversations import new_id
from agentic_fleet.errors import Conflict, FleetError, NotFound
from agentic_fleet.events import now
from agentic_fleet.learning.orders import Order, Outcome, Said, Work
from agentic_fleet.learning.process import OptimisationFailed, optimised
from agentic_fleet.settings import Settings
from agentic_fleet.tracing import Tracing
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.saved import write_whole
from agentic_fleet.workflows.shelf import Shelf

logger = logging.getLogger(__name__)

KEPT = 100
"""Jobs that are remembered, the newest."""
_LARGEST = 1_000_000  # bytes of a job's file
INTERRUPTED = "It was interrupted: the service was stopped."

Status = Literal["pending", "running", "completed", "failed", "cancelled"]
OPEN: frozenset[Status] = frozenset({"pending", "running"})


class Job(msgspec.Struct, kw_only=True):
    """`adopted`: what it made is what the next run uses. Times are Unix milliseconds."""

    id: str
    owner: str  # the caller who asked for it
    order: Order
    user_id: str | None = None  # whatever the client calls its user
    module: str = "all"
    status: Status = "pending"
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    message: str = "Waiting to begin."
    told_at: int = 0
    done: int = 0
    of: int = 0
    error: str | None = None
    outcome: Outcome | None = None
    adopted: bool = False


class Jobs:
    """Use `Jobs.open`."""

    def __init__(self, settings: Settings, shelf: Shelf, tracing: Tracing, tasks: TaskGroup) -> None:
        self._settings = settings
        self._tracing = tracing
        self._shelf = shelf
        self._tasks = tasks
        self._folder = shelf.folder / "jobs"
        self._jobs: dict[str, Job] = {}  # the oldest first
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._ended: dict[str, anyio.Event] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, shelf: Shelf, tracing: Tracing | None = None) -> AsyncIterator["Jobs"]:
        """Leaving the block ends the job at work; it has failed then."""
        async with anyio.create_task_group() as tasks:
            jobs = cls(settings, shelf, tracing or Tracing(), tasks)
            await anyio.to_thread.run_sync(jobs._remember)
            try:
                yield jobs
            finally:
                tasks.cancel_scope.cancel("closing")

    def start(self, order: Order, *, owner: str, module: str = "all", user_id: str | None = None) -> Job:
        """Conflict while another one is at work."""
        if live := next((job for job in self._jobs.values() if job.status in OPEN), None):
            raise Conflict(f"Another optimisation is at work: {live.id if live.owner == owner else 'try again later'}.")
        at = now()
        job = Job(id=new_id(), owner=owner, order=order, module=module, user_id=user_id, created_at=at, told_at=at)
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT:
            oldest = next(iter(self._jobs))
            del self._jobs[oldest]
            self._path(oldest).unlink(missing_ok=True)
        self._scopes[job.id], self._ended[job.id] = anyio.CancelScope(), anyio.Event()
        self._tasks.start_soon(self._carry_out, job)
        return job

    def get(self, id: str, *, owner: str) -> Job:
        """NotFound, also for another caller's."""
        job = self._jobs.get(id)
        if job is None or job.owner != owner:
            raise NotFound("There is no such optimisation job.")
        return job

    def all(self, *, owner: str) -> list[Job]:
        """The newest first."""
        return [job for job in reversed(self._jobs.values()) if job.owner == owner]

    async def cancel(self, id: str, *, owner: str) -> Job:
        """The job, ended; one that had ended before stays as it was."""
        job = self.get(id, owner=owner)
        if job.status in OPEN:
            self._scopes[id].cancel("asked to")
        return await self.ended(id, owner=owner)

    async def ended(self, id: str, *, owner: str) -> Job:
        """The job, once it has ended."""
        job = self.get(id, owner=owner)
        if id in self._ended:
            await self._ended[id].wait()
        return job

    async def _carry_out(self, job: Job) -> None:
        with self._tracing.job(job.id, job.module) as concluded:
            try:
                await self._live(job)
            finally:
                concluded(job.status)

    async def _live(self, job: Job) -> None:
        try:
            with self._scopes[job.id] as scope:
                await self._keep(job)
                job.status, job.started_at, job.message = "running", now(), "Starting."
                await self._optimise(job)
        finally:  # also when the service is being stopped
            self._conclude(job, cancelled=scope.cancel_called)
            with anyio.move_on_after(5, shield=True):
                await self._keep(job)
            del self._scopes[job.id]
            self._ended.pop(job.id).set()

    async def _optimise(self, job: Job) -> None:
        def hear(said: Said) -> None:
            job.message, job.done, job.of, job.told_at = said.saying, said.done, said.of, now()

        try:
            outcome = await optimised(Work(order=job.order), self._settings, hear)
            with anyio.CancelScope(shield=True):  # what is through is adopted whole
                await self._adopt(job, outcome)
        except FleetError as error:
            job.status, job.error = "failed", str(error)
            logger.error("an optimisation failed: %s", type(error).__name__)
        except OSError as error:
            job.status, job.error = "failed", "Its result could not be kept."
            logger.error("an optimisation failed: %s", error.strerror)

    async def _adopt(self, job: Job, outcome: Outcome) -> None:
        job.message = outcome.note
        if outcome.version:
            if await anyio.to_thread.run_sync(saved.in_force, self._shelf.folder) == outcome.parent:
                await anyio.to_thread.run_sync(saved.put_in_force, self._shelf.folder, outcome.version)
                job.adopted = (await self._shelf.in_force()).version == outcome.version
                if not job.adopted:
                    raise OptimisationFailed("What it made cannot be used here.")
            else:
                job.message += f" Another program was put in force meanwhile: it is kept as {outcome.version}."
        job.outcome = outcome
        job.status = "completed"
        job.done = job.of
        logger.info("an optimisation is through: %s", job.message)

    def _conclude(self, job: Job, *, cancelled: bool) -> None:
        job.ended_at = job.told_at = now()
        if job.status not in OPEN:
            return
        if cancelled:
            job.status, job.message = "cancelled", "It was cancelled."
        else:
            job.status, job.error = "failed", INTERRUPTED

    async def _keep(self, job: Job) -> None:
        body = jsontext.encode(job)
        try:
            await anyio.to_thread.run_sync(write_whole, self._path(job.id), body)
        except OSError as error:
            logger.error("an optimisation job was not kept: %s", error.strerror)

    def _remember(self) -> None:
        for path in self._folder.glob("*.json"):
            try:
                if path.stat().st_size > _LARGEST:
                    continue
                job = jsontext.decode(path.read_bytes(), Job)
            except (OSError, FleetError):
                logger.warning("an optimisation job could not be read and was skipped")
                continue
            if job.status in OPEN:
                job.status, job.error, job.ended_at = "failed", INTERRUPTED, job.started_at or job.created_at
            self._jobs[job.id] = job
        self._jobs = {job.id: job for job in sorted(self._jobs.values(), key=lambda job: job.created_at)[-KEPT:]}

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.json"

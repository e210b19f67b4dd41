"""Running: the service's one task group, and the runs that live in it. Connections only watch.

`Runs` starts, finds, cancels, drains and stops; each `Run` owns its scope and its log.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio.abc import TaskGroup

from agentic_fleet.conversations import Message, new_id
from agentic_fleet.errors import Draining, StoreFailed, TooManyRuns
from agentic_fleet.events import now
from agentic_fleet.runs.log import RunLog
from agentic_fleet.runs.run import Run, interruption
from agentic_fleet.runs.watch import Watch
from agentic_fleet.settings import Settings
from agentic_fleet.store import IdempotencyKey, Store
from agentic_fleet.turns import LIVE, Ask, RunState, RunStatus, Turn, Workflow

__all__ = ["Runs", "Watch"]

logger = logging.getLogger(__name__)

HISTORY = 50
"""Earlier messages of the conversation that a workflow is given; it keeps what fits its model."""
REPAIR_PAUSE = 2.0
"""Seconds between attempts to store the ending of a run whose store had failed."""
TEARDOWN = 10.0
"""Seconds in which stopped runs must have left: their workflow's clean-up and their last event."""


class Runs:
    """All runs of this process. `start` refuses the one too many; everything else is always allowed."""

    def __init__(self, store: Store, workflow: Workflow, settings: Settings) -> None:
        self.draining = False
        self._store = store
        self._workflow = workflow
        self._settings = settings
        self._runs: dict[str, Run] = {}  # live, or ended but not yet in the store
        self._starting = 0
        self._stopped = False
        self._changed = anyio.Event()  # single-use: replaced at each change
        self._tasks: TaskGroup

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, workflow: Workflow, settings: Settings) -> AsyncIterator[Self]:
        """The service's task group. Runs that a dead process left are ended first; leaving stops those that live."""
        runs = cls(store, workflow, settings)
        await runs._repair_left_behind()
        async with anyio.create_task_group() as runs._tasks:
            runs._tasks.start_soon(runs._repair_unrecorded)
            try:
                yield runs
            finally:
                runs.draining = True
                runs.stop()
                with anyio.move_on_after(TEARDOWN, shield=True):
                    await runs.idle()
                runs._tasks.cancel_scope.cancel("the service is closing")

    @property
    def live(self) -> int:
        """Runs that are working now, or about to."""
        return self._starting + sum(not run.ended.is_set() for run in self._runs.values())

    async def start(
        self, conversation_id: str, ask: Ask, *, key: IdempotencyKey | None = None, create: bool = False
    ) -> RunState:
        """Keep the question and begin to answer it; the run goes on whatever becomes of the caller.

        With a `key` that was used before, the run it started. `create` makes an unknown conversation.
        Raises TooManyRuns, Draining, Conflict (the conversation has a live run), KeyReused, NotFound, StoreFailed.
        """
        if self.draining:
            raise Draining("The service is shutting down.")
        if self.live >= self._settings.max_runs:
            raise TooManyRuns(f"All {self._settings.max_runs} runs are taken.")
        self._starting += 1
        try:
            # Shielded: a run that is kept must also be started. The store bounds the wait.
            with anyio.CancelScope(shield=True):
                state = await self._start(conversation_id, ask, key, create)
        finally:
            self._starting -= 1
            self._wake()
        return state

    async def state(self, run_id: str) -> RunState:
        """What is known of a run. NotFound."""
        run = self._runs.get(run_id)
        return run.state if run else await self._store.run(run_id)

    async def cancel(self, run_id: str) -> RunState:
        """End a run and return its final state; a run that has ended keeps the ending it has. NotFound."""
        if run := self._runs.get(run_id):
            run.cancel("cancelled")
            await run.ended.wait()
            return run.state
        return await self._store.run(run_id)

    async def watch(self, run_id: str, after: int = 0) -> Watch:
        """A cursor over the run's log behind `after`, live or long finished. NotFound, BadCursor."""
        if run := self._runs.get(run_id):
            return Watch(run.log, lambda: run.state, self._store, run.audience, after)
        state = await self._store.run(run_id)
        log = RunLog(run_id, self._store, last=state.last_seq, closed=True)
        return Watch(log, lambda: state, self._store, None, after)

    async def drop_conversation(self, conversation_id: str) -> None:
        """Cancel the conversation's live run, then forget the conversation with all its runs. NotFound."""
        for state in await self._store.runs(statuses=LIVE, conversation_id=conversation_id, limit=1):
            await self.cancel(state.run_id)
        await self._store.drop_conversation(conversation_id)

    async def drain(self, grace: float) -> None:
        """Refuse new runs and wait until the live ones are through, at most `grace` seconds."""
        self.draining = True
        with anyio.move_on_after(grace):
            await self.idle()

    def stop(self) -> None:
        """End every live run as interrupted; `idle` tells when they have left."""
        self._stopped = True
        for run in self._runs.values():
            run.cancel("shutdown")

    async def idle(self) -> None:
        """Return when nothing is live."""
        while self.live:
            await self._changed.wait()

    async def _start(self, conversation_id: str, ask: Ask, key: IdempotencyKey | None, create: bool) -> RunState:
        history = await self._store.messages(conversation_id, limit=HISTORY)
        at, run_id = now(), new_id()
        state = await self._store.add_run(
            RunState(
                run_id=run_id,
                conversation_id=conversation_id,
                task=ask.message,
                mode=ask.mode,
                status=RunStatus.CREATED,
                created_at=at,
            ),
            Message(
                id=new_id(),
                conversation_id=conversation_id,
                role="user",
                content=ask.message,
                created_at=at,
                workflow_id=run_id,
            ),
            key=key,
            create=create,
        )
        if state.run_id == run_id:
            self._launch(state, Turn(run_id=run_id, conversation_id=conversation_id, ask=ask, history=history))
        return state

    def _launch(self, state: RunState, turn: Turn) -> None:
        knobs = self._settings
        run = Run(state, turn, self._workflow, self._store, timeout=knobs.run_timeout, grace=knobs.disconnect_grace)
        self._runs[state.run_id] = run
        if self._stopped:
            run.cancel("shutdown")
        self._tasks.start_soon(self._host, run)

    async def _host(self, run: Run) -> None:
        try:
            await run.execute()
        finally:
            if run.recorded:
                del self._runs[run.state.run_id]
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _repair_left_behind(self) -> None:
        """Give every run that an earlier process left live its ending, so that its watchers are told."""
        while left := await self._store.runs(statuses=LIVE, limit=100):
            for state in left:
                records, after = interruption(state)
                await self._store.append(state.run_id, records, state=after)
            logger.warning("ended %d runs that an earlier process left behind", len(left))

    async def _repair_unrecorded(self) -> None:
        """Store the endings that a failing store had refused, as soon as it takes them."""
        while True:
            await anyio.sleep(REPAIR_PAUSE)
            for run in [run for run in self._runs.values() if run.ended.is_set()]:
                try:
                    await run.record_late()
                except StoreFailed:
                    break
                del self._runs[run.state.run_id]

"""Running: the service's one task group, and the runs that live in it. Connections only watch.

`Runs` starts, finds, answers, resumes, cancels, drains and stops; each `Run` owns its scope and its log. A run belongs
to the caller who asked (`context.caller`): to everybody else it does not exist.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from agentic_fleet import context
from agentic_fleet.conversations import NEW_CHAT, Opening
from agentic_fleet.errors import Conflict, Draining, NotFound, TooManyRuns
from agentic_fleet.rates import Rate
from agentic_fleet.runs import leftovers
from agentic_fleet.runs.beginning import asked
from agentic_fleet.runs.change import Change
from agentic_fleet.runs.endings import CUT_SHORT
from agentic_fleet.runs.ferry import Ferry
from agentic_fleet.runs.limits import Limits
from agentic_fleet.runs.log import RunLog
from agentic_fleet.runs.memory import DurableMemory, TransientMemory
from agentic_fleet.runs.middleware import Following
from agentic_fleet.runs.requests import check_open
from agentic_fleet.runs.revival import HISTORY, continuation
from agentic_fleet.runs.run import Run
from agentic_fleet.runs.watch import Watch
from agentic_fleet.settings import Settings
from agentic_fleet.store import IdempotencyKey, Store
from agentic_fleet.turns import LIVE, Ask, ChatMiddleware, Checkpoint, Memory, RunState, RunStatus, Turn, Workflow

__all__ = ["Runs", "Watch"]

logger = logging.getLogger(__name__)

TEARDOWN = 10.0
"""Seconds in which stopped runs must have left: their workflow's clean-up and their last event."""


class Live(Conflict):
    """It is too late to bring the run back, or too early."""


class Runs:
    """All runs of this process. `start` refuses the one too many; everything else is always allowed.

    What is said to raise NotFound also does so for what is another caller's.
    """

    def __init__(self, store: Store, workflow: Workflow, settings: Settings, following: Following) -> None:
        self.draining = False
        self._store = store
        self._workflow = workflow
        self._following = following
        self._ferry = Ferry(store)
        self._max_runs = settings.max_runs
        self._rate = Rate(settings.run_rate, "runs")
        self._limits = Limits(
            run=settings.run_timeout, human=settings.input_timeout, unwatched=settings.disconnect_grace
        )
        self._runs: dict[str, Run] = {}  # live, or ended but not yet in the store
        self._starting = 0
        self._taken: set[str] = set()
        self._stopped = False
        self._changed = Change()
        self._tasks: TaskGroup

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: Store,
        workflow: Workflow,
        settings: Settings,
        *,
        middleware: Sequence[ChatMiddleware] = (),
        scores_late: bool = False,
    ) -> AsyncIterator[Self]:
        """The service's task group. Runs that a dead process left are ended first; leaving stops those that live.

        `middleware` follows every run, in this order. `scores_late`: some of it gives a score to answers without one.
        """
        runs = cls(store, workflow, settings, Following(tuple(middleware), scores_late))
        await leftovers.end_all(store, middleware)
        async with anyio.create_task_group() as runs._tasks:
            runs._tasks.start_soon(leftovers.keep_late, runs._runs)
            runs._tasks.start_soon(runs._ferry.run)
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
        self,
        conversation_id: str,
        ask: Ask,
        *,
        key: IdempotencyKey | None = None,
        create: bool = False,
        opening: Opening = NEW_CHAT,
    ) -> RunState:
        """Keep the question and begin to answer it; the run goes on whatever becomes of the caller.

        With a `key` that was used before, the run it started. `create` makes an unknown conversation; the messages of
        `opening` are said before the question, and are kept or not kept together with it.
        Raises TooManyRuns, Draining, TooFast, Conflict (the conversation has a live run), KeyReused, NotFound,
        StoreFailed.
        """
        self._rate.take(context.caller.get())
        with self._place():
            # Shielded: a run that is kept must also be started. The store bounds the wait.
            with anyio.CancelScope(shield=True):
                state = await self._start(conversation_id, ask, key, create, opening)
        return state

    async def state(self, run_id: str) -> RunState:
        """What is known of a run. NotFound."""
        run = self._runs.get(run_id)
        return _mine(run.state if run else await self._store.run(run_id))

    async def page(
        self,
        *,
        status: RunStatus | None = None,
        conversation_id: str | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[RunState]:
        """The caller's runs, newest first."""
        return await self._store.runs(
            owner=context.caller.get(),
            statuses=[status] if status else None,
            conversation_id=conversation_id,
            limit=limit,
            offset=offset,
        )

    async def cancel(self, run_id: str) -> RunState:
        """End a run, live or suspended, and return its final state; one that has ended keeps its ending. NotFound."""
        if run := await self._live(run_id):
            _mine(run.state)
            run.cancel("cancelled")
            await run.ended.wait()
            # It may have been about to be suspended just then.
            return await self.cancel(run_id) if run.state.status is RunStatus.SUSPENDED else run.state
        with self._sole(run_id):
            state = _mine(await self._store.run(run_id))
            if state.status is RunStatus.SUSPENDED:
                state = await leftovers.end(self._store, self._following.middleware, state, CUT_SHORT["cancelled"])
        return state

    async def watch(self, run_id: str, after: int = 0) -> Watch:
        """A cursor over the run's log behind `after`, live or long finished. NotFound, BadCursor."""
        if run := self._runs.get(run_id):
            _mine(run.state)
            return Watch(run.log, lambda: run.state, self._store, run.audience, after)
        state = _mine(await self._store.run(run_id))
        log = RunLog(run_id, self._store, last=state.last_seq, closed=True)
        return Watch(log, lambda: state, self._store, None, after)

    async def checkpoints(self, run_id: str) -> list[Checkpoint]:
        """Where the run can go on from, oldest first; none when it has completed. NotFound."""
        await self.state(run_id)
        return await self._store.checkpoints(run_id)

    async def answer(self, run_id: str, request_id: str, response: Any) -> RunState:
        """Give a human's answer (any JSON) and return when it is stored; a suspended run goes on with it.

        NotFound for an unknown run or request; Conflict when it has been answered, or the run is over.
        """
        if run := await self._live(run_id):
            _mine(run.state)
            if await run.answer(request_id, response):
                return run.state
            await run.ended.wait()
        state = _mine(await self._store.run(run_id))
        check_open(state, request_id)
        if state.status is not RunStatus.SUSPENDED:
            raise Conflict("The run is over.")
        try:
            run = await self._revive(run_id, None, brought_by=(request_id, response))
        except Live:  # somebody was faster
            return await self.answer(run_id, request_id, response)
        await run.answered(request_id)
        return run.state

    async def resume(self, run_id: str, checkpoint_id: str | None = None) -> RunState:
        """Go on with a run that ended without an answer, from its last or the named checkpoint, in the same log.

        Returns when it is live; `last_seq` is the one before it was. NotFound for the run or checkpoint; Conflict when
        it is live, has completed, or kept no checkpoints; TooManyRuns, Draining, StoreFailed.
        """
        run = await self._revive(run_id, checkpoint_id)
        return replace(run.state, last_seq=run.first_seq)

    async def drop_conversation(self, conversation_id: str) -> None:
        """Cancel the conversation's live run, then forget the conversation with all its runs. NotFound."""
        owner = context.caller.get()
        for state in await self._store.runs(owner=owner, statuses=LIVE, conversation_id=conversation_id, limit=1):
            await self.cancel(state.run_id)
        await self._store.drop_conversation(conversation_id, owner=owner)

    async def drain(self, grace: float) -> None:
        """Refuse new runs and wait until the working ones are through, at most `grace` seconds; suspend the waiting."""
        self.draining = True
        for run in self._runs.values():
            if run.state.status is RunStatus.WAITING:  # for a human, which needs no process
                run.cancel("shutdown")
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

    async def _start(
        self, conversation_id: str, ask: Ask, key: IdempotencyKey | None, create: bool, opening: Opening
    ) -> RunState:
        history = [*await self._store.messages(conversation_id, limit=HISTORY), *opening.messages][-HISTORY:]
        new, question = asked(conversation_id, ask)
        state = await self._store.add_run(new, question, key=key, create=create, opening=opening)
        if state.run_id == new.run_id:
            durable = ask.enable_checkpointing
            memory: Memory = DurableMemory(self._store, new.run_id, new=True) if durable else TransientMemory()
            turn = Turn(run_id=new.run_id, conversation_id=conversation_id, ask=ask, memory=memory, history=history)
            self._launch(state, turn)
        return state

    async def _live(self, run_id: str) -> Run | None:
        """The run, if it lives in this process; one that is being brought back is waited for."""
        while run_id in self._taken:
            await self._changed.wait()
        return self._runs.get(run_id)

    async def _revive(
        self, run_id: str, checkpoint_id: str | None, *, brought_by: tuple[str, Any] | None = None
    ) -> Run:
        """Make an ended run live again, once it is in the store as such: by an answer, or to ask everything again."""
        await self.state(run_id)  # whose it is comes before what it does
        with self._sole(run_id), self._place(), anyio.CancelScope(shield=True):  # as in `start`
            state = await self._store.run(run_id)
            turn = await continuation(self._store, state, checkpoint_id)
            # Without an answer it asks again what it wants to know: a checkpoint may lie before the question.
            run = self._launch(state if brought_by else replace(state, pending_requests=()), turn, brought_by)
            await run.begun()
        return run

    @contextmanager
    def _sole(self, run_id: str) -> Iterator[None]:
        """Nobody else changes this run, which is not live here, during the block. Raises Live."""
        if run_id in self._runs or run_id in self._taken:
            raise Live("The run is live.")
        self._taken.add(run_id)
        try:
            yield
        finally:
            self._taken.discard(run_id)
            self._changed.tell()

    def _launch(self, state: RunState, turn: Turn, brought_by: tuple[str, Any] | None = None) -> Run:
        run = Run(state, turn, self._workflow, self._store, self._ferry, self._limits, brought_by, self._following)
        self._runs[state.run_id] = run
        if self._stopped:
            run.cancel("shutdown")
        self._tasks.start_soon(self._host, run)
        return run

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold a place for a run that is about to live. Raises Draining, TooManyRuns."""
        if self.draining:
            raise Draining("The service is shutting down.")
        if self.live >= self._max_runs:
            raise TooManyRuns(f"All {self._max_runs} runs are taken.")
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self._changed.tell()

    async def _host(self, run: Run) -> None:
        try:
            await run.execute()
        except Exception:  # the run's boundary: a fault in the machinery of one must not reach its neighbours
            logger.exception("a run could not be ended properly")
            run.let_go()
        finally:
            if run.recorded:
                del self._runs[run.state.run_id]
            self._changed.tell()


def _mine(state: RunState) -> RunState:
    """The state, for the run's owner. NotFound for anybody else, in the words for a run that does not exist."""
    if state.owner != context.caller.get():
        raise NotFound("There is no such run.")
    return state

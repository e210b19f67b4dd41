"""One run: one scope, one recorder, one ending; and as many turns as a human makes it take."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from agentic_fleet import context, jsontext
from agentic_fleet.errors import Conflict, FleetError, StoreFailed, TimedOut, innermost
from agentic_fleet.events import Record, StreamEvent, StreamEventType
from agentic_fleet.runs.audience import Audience
from agentic_fleet.runs.endings import CUT_SHORT, DONE, SUSPENDED, Ending, Reason, completed, number, outcome, stopped
from agentic_fleet.runs.ferry import Ferry
from agentic_fleet.runs.limits import Limits
from agentic_fleet.runs.log import RunLog
from agentic_fleet.runs.middleware import NOBODY, Chain, Following, facts
from agentic_fleet.runs.recorder import Recorder
from agentic_fleet.runs.requests import check_open, request_event, response_event
from agentic_fleet.store import Store
from agentic_fleet.turns import (
    LIVE,
    PendingRequest,
    Result,
    RunState,
    RunStatus,
    Turn,
    Unfinished,
    Workflow,
)

logger = logging.getLogger(__name__)

LAST_EVENT = 5.0
"""Seconds in which the last event must be stored; after that it is shown all the same, and stored when possible."""

_Last = tuple[StreamEvent, list[Record], RunState]
"""The event directly before `done`, both as records, and the run's state after them."""


class Run:
    """Owned by `Runs`, which executes it in the service's task group."""

    def __init__(
        self,
        state: RunState,
        turn: Turn,
        workflow: Workflow,
        store: Store,
        ferry: Ferry,
        limits: Limits,
        brought_by: tuple[str, Any] | None = None,
        following: Following = NOBODY,
    ) -> None:
        """`state` is a new run's, or that of one that has ended and goes on with `turn`; perhaps because a request was
        answered: `brought_by` is its id and the answer."""
        self.run_id = state.run_id
        self.audience = Audience()
        self.ended = anyio.Event()
        self.first_seq = state.last_seq  # the last one before this life
        self.recorded = False  # whether the ending is in the store
        self._turn = turn
        self._workflow = workflow
        self._limits = limits
        self._brought_by = brought_by
        self._followers = Chain(following.middleware)
        self._recorder = Recorder(state, store, ferry, self._followers)
        self._scores_late = following.scores_late
        self._scope = anyio.CancelScope()
        self._reason: Reason | None = None
        self._reasoned = False
        self._failure: FleetError | None = None
        self._answering: set[str] = set()  # requests whose answer is on its way to the store

    @property
    def state(self) -> RunState:
        """As the store has it."""
        return self._recorder.state

    @property
    def log(self) -> RunLog:
        return self._recorder.log

    def cancel(self, reason: Reason) -> None:
        """Ask it to end; the first reason counts. `ended` says when it has."""
        self._reason = self._reason or reason
        self._scope.cancel(reason)

    async def begun(self) -> None:
        """Return when the store knows that the run is live. Raises what kept it from being so."""
        while self.state.last_seq == self.first_seq:
            if self.ended.is_set():
                raise self._failure or Conflict("The run is over.")
            await self._recorder.changed.wait()

    async def answer(self, request_id: str, response: Any) -> bool:
        """Give a human's answer; returns when it is stored. NotFound; Conflict when it has one, or the run is over.

        False when the run has just stopped waiting for it: once it has `ended`, it can be brought back by the answer.
        """
        if request_id in self._answering:
            raise Conflict("This request has been answered.")
        check_open(self.state, request_id)
        if self._scope.cancel_called or self.ended.is_set():
            raise Conflict("The run is over.")
        try:
            await self._give(request_id, response)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            return False
        await self.answered(request_id)
        return True

    async def answered(self, request_id: str) -> None:
        """Return when an answer that is on its way is stored. Conflict when the run ends first."""
        while request_id not in self.state.answers:
            if self.ended.is_set():
                raise Conflict("The run is over.")
            await self._recorder.changed.wait()

    async def execute(self) -> None:
        """Run to the end. However it ends, the log gets one ending and `done`, and is closed."""
        with context.bind(run_id=self.run_id, conversation_id=self.state.conversation_id):
            logger.info("run started in mode %s", self.state.mode)
            ending: Ending | None = None
            try:
                await self._followers.on_start(self.state.task, facts(self.state, self._turn.history))
                ending = await self._work()
            finally:  # without an ending, the service is torn down around us
                await self._end(ending or (stopped(self.state), None))
            logger.info("run %s", self.state.status)

    def let_go(self) -> None:
        """Nothing follows: release everybody who waits. Whatever the store lacks, the next start repairs."""
        self.log.close()
        self.ended.set()
        self._recorder.changed.tell()

    async def record_late(self) -> None:
        """Store the ending of a run whose store had failed. Raises StoreFailed again."""
        records = await self.log.read(self.state.last_seq - 2)
        await self._recorder.append(records, self.state)
        self.recorded = True

    async def _work(self) -> Ending:
        """The workflow and the recorder, side by side, until the recorder has kept what the workflow emitted."""
        watching = anyio.CancelScope()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._recorder.record)
                if self._turn.ask.on_disconnect == "cancel":
                    tasks.start_soon(self._leave_with_audience, watching)
                try:
                    ending = await self._carry_out()
                finally:
                    self._recorder.close()
                watching.cancel("the workflow is through")
        except Exception as error:  # the recorder's: the store failed
            return self._failed(error), None
        return ending

    async def _carry_out(self) -> Ending:
        """The workflow, turn after turn, inside the run's scope; its outcome as an event."""
        self._deadline = self._scope.deadline = anyio.current_time() + self._limits.run
        try:
            with self._scope:
                return await self._take_turns()
        except Exception as error:
            if not self._scope.cancel_called:  # else: torn up while being cancelled
                return self._failed(error), None
        if self._reason == "shutdown":
            return stopped(self.state), None
        if self._reason:
            return CUT_SHORT[self._reason], None
        return self._failed(TimedOut(f"The run took longer than {self._limits.run:g} s.")), None

    async def _take_turns(self) -> Ending:
        turn, requests = self._turn, self.state.pending_requests
        await self._emit(self._connected())
        if self._brought_by:
            await self._give(*self._brought_by)
        while True:
            if requests and not await self._answered(requests):
                return self._unanswered(), None
            if requests:
                kept = await turn.memory.checkpoints()
                turn = replace(turn, answers=self.state.answers, checkpoint=kept[-1] if kept else None)
            outcome = await self._workflow.run(turn, self._emit)
            if isinstance(outcome, Result):
                return completed(outcome, self.state, scores_late=self._scores_late)
            requests, turn = outcome.requests, replace(turn, retell=False)
            for request in requests:
                await self._emit(request_event(request))

    async def _give(self, request_id: str, response: Any) -> None:
        self._answering.add(request_id)
        await self._emit(response_event(request_id, response))

    async def _answered(self, requests: Sequence[PendingRequest]) -> bool:
        """Wait for the answers to all of them, for as long as a human may take."""
        since = anyio.current_time()
        self._scope.deadline = math.inf
        with anyio.move_on_after(self._limits.human):
            while not self._has_answers(requests):
                await self._recorder.changed.wait()
        while self._answering - self.state.answers.keys():  # one came in the last moment
            await self._recorder.changed.wait()
        self._deadline += anyio.current_time() - since
        self._scope.deadline = self._deadline
        return self._has_answers(requests)

    def _has_answers(self, requests: Sequence[PendingRequest]) -> bool:
        return all(request.request_id in self.state.answers for request in requests)

    async def _emit(self, event: StreamEvent) -> None:
        self._reasoned |= event.type is StreamEventType.REASONING_DELTA
        await self._recorder.emit(event)

    async def _end(self, ending: Ending) -> None:
        """Keep the ending, tell those who follow the run, show it, close the log. What the store did not keep is not
        shown as an answer: the ending is then an error."""
        if self.state.status in LIVE:
            last: _Last | None = None
            with anyio.move_on_after(LAST_EVENT, shield=True):
                last = await self._record_ending(ending)
            self.recorded = last is not None
            if last is None:
                lost = ending[0]
                if lost.type is not StreamEventType.ERROR:  # nothing is claimed that is not kept
                    lost = self._error("The store failed: the end of this run could not be kept.")
                last = lost, *number((lost, DONE), self.state)
            event, records, state = last
            await self._followers.on_ending((event, DONE), outcome(event, state, self._failure))
            self._recorder.show(records, state)
        else:  # the store never took it as live again: it stays ended as it was
            self.recorded = True
            await self._followers.on_ending((), Unfinished(self.state.status, self.state.error or ""))
        self.let_go()

    async def _record_ending(self, ending: Ending) -> _Last | None:
        """The ending as it was kept; None when the store takes none."""
        event, answer = ending
        if event is SUSPENDED and self.state.status is not RunStatus.WAITING:
            event = CUT_SHORT["shutdown"]  # the answer was stored after all: there is nothing to wait for
        records, state = number((event, DONE), self.state)
        for delay in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2):  # longer than LAST_EVENT in all
            try:
                await self._recorder.append(records, state, answer)
            except StoreFailed:
                logger.warning("the store did not take the run's ending yet")
                await anyio.sleep(delay)
            else:
                return event, records, state
        return None

    async def _leave_with_audience(self, until: anyio.CancelScope) -> None:
        with until:
            await self.audience.gone(self._limits.unwatched)
            self.cancel("disconnect")

    def _connected(self) -> StreamEvent:
        ids = {"conversation_id": self.state.conversation_id, "workflow_id": self.run_id}
        checkpointing = {"checkpointing_enabled": self._turn.ask.enable_checkpointing}
        resumed = {"resumed": True} if self.log.last else {}
        return StreamEvent(type=StreamEventType.CONNECTED, data={**ids, **checkpointing, **resumed})

    def _unanswered(self) -> StreamEvent:
        if self._turn.ask.enable_checkpointing:
            return SUSPENDED
        return self._error(f"No answer came in {self._limits.human:g} s, and the run keeps no checkpoints.")

    def _failed(self, error: Exception) -> StreamEvent:
        cause = innermost(error)
        if isinstance(cause, FleetError):
            self._failure = cause
            logger.warning("run failed: %s", cause)
            return self._error(str(cause))
        logger.error("run failed unexpectedly", exc_info=error)
        return self._error("The run failed unexpectedly.")

    def _error(self, text: str) -> StreamEvent:
        return StreamEvent(
            type=StreamEventType.ERROR, error=jsontext.scrub(text), reasoning_partial=self._reasoned or None
        )

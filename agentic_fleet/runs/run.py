"""One run: one scope, one numbered log, one ending.

The workflow emits into a bounded stream; the recorder beside it numbers and encodes what waits there, has the store
keep it, and then shows it. A slow disk therefore slows the workflow, and nobody sees what a crash could lose.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agentic_fleet import context, jsontext
from agentic_fleet.conversations import Message, new_id
from agentic_fleet.errors import FleetError, NotFound, StoreFailed, innermost
from agentic_fleet.events import Record, StreamEvent, StreamEventType, encode_event, now
from agentic_fleet.runs.audience import Audience
from agentic_fleet.runs.log import RunLog
from agentic_fleet.runs.status import INTERRUPTED, fold
from agentic_fleet.store import Store
from agentic_fleet.turns import Result, RunState, Turn, Workflow

logger = logging.getLogger(__name__)

WAITING_EVENTS = 256
"""Events that may wait for the store before `emit` makes the workflow wait: a burst of parallel agents, about 80 kB."""
STORE_PATIENCE = 30.0
"""Seconds one append may take; the store itself gives up on a lock sooner."""
LAST_EVENT = 5.0
"""Seconds in which the last event must be stored; after that it is shown all the same, and stored when possible."""

Reason = Literal["cancelled", "disconnect", "shutdown"]
Ending = tuple[StreamEvent, Message | None]
"""The event directly before `done`, and the assistant's message when there is an answer."""

_DONE = StreamEvent(type=StreamEventType.DONE)
_CUT_SHORT: dict[Reason, StreamEvent] = {
    "cancelled": StreamEvent(type=StreamEventType.CANCELLED, message="The run was cancelled."),
    "disconnect": StreamEvent(type=StreamEventType.CANCELLED, message="The run was cancelled: its last watcher left."),
    "shutdown": StreamEvent(
        type=StreamEventType.ERROR, kind=INTERRUPTED, error="The service stopped before the answer was complete."
    ),
}


class Run:
    """Owned by `Runs`, which executes it in the service's task group. `state` is what the store has."""

    def __init__(self, state: RunState, turn: Turn, workflow: Workflow, store: Store, *, timeout: float, grace: float):
        self.state = state
        self.log = RunLog(state.run_id, store)
        self.audience = Audience()
        self.ended = anyio.Event()
        self.recorded = False  # whether the ending is in the store
        self._turn = turn
        self._workflow = workflow
        self._store = store
        self._timeout = timeout
        self._grace = grace
        self._scope = anyio.CancelScope()
        self._reason: Reason | None = None
        self._reasoned = False

    def cancel(self, reason: Reason) -> None:
        """Ask it to end; the first reason counts. `ended` says when it has."""
        self._reason = self._reason or reason
        self._scope.cancel(reason)

    async def execute(self) -> None:
        """Run to the end. However it ends, the log gets one ending and `done`, and is closed."""
        with context.bind(run_id=self.state.run_id, conversation_id=self.state.conversation_id):
            logger.info("run started in mode %s", self.state.mode)
            ending: Ending = _CUT_SHORT["shutdown"], None  # stands when the service is torn down around us
            try:
                ending = await self._work()
            finally:
                with anyio.move_on_after(LAST_EVENT, shield=True):
                    await self._record_ending(ending)
                self._close()
            logger.info("run %s", self.state.status)

    async def record_late(self) -> None:
        """Store the ending of a run whose store had failed. Raises StoreFailed again."""
        records = await self.log.read(self.state.last_seq - 2)
        await self._append(records, self.state)
        self.recorded = True

    async def _work(self) -> Ending:
        """The workflow and the recorder, side by side, until the recorder has kept what the workflow emitted."""
        send, receive = anyio.create_memory_object_stream[StreamEvent](WAITING_EVENTS)
        watching = anyio.CancelScope()
        try:
            async with anyio.create_task_group() as tasks, send:
                tasks.start_soon(self._record, receive)
                if self._turn.ask.on_disconnect == "cancel":
                    tasks.start_soon(self._leave_with_audience, watching)
                ending = await self._answer(send)
                watching.cancel("the workflow is through")
        except Exception as error:  # the recorder's: the store failed
            return self._failed(error), None
        return ending

    async def _answer(self, events: MemoryObjectSendStream[StreamEvent]) -> Ending:
        """The workflow, inside the run's scope; its outcome as an event."""

        async def emit(event: StreamEvent) -> None:
            self._reasoned |= event.type is StreamEventType.REASONING_DELTA
            try:
                events.send_nowait(event)
            except anyio.WouldBlock:
                await events.send(event)

        self._scope.deadline = anyio.current_time() + self._timeout
        try:
            with self._scope:
                await emit(self._connected())
                return self._completed(await self._workflow.run(self._turn, emit))
        except Exception as error:
            if not self._scope.cancel_called:  # else: torn up while being cancelled
                return self._failed(error), None
        if self._reason:
            return _CUT_SHORT[self._reason], None
        return self._error(f"The run took longer than {self._timeout:g} s."), None

    async def _record(self, events: MemoryObjectReceiveStream[StreamEvent]) -> None:
        """Store, then show, everything that waits at once, until the workflow is through."""
        with events:
            async for event in events:
                batch = [event]
                with suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while len(batch) < WAITING_EVENTS:
                        batch.append(events.receive_nowait())
                # Shielded: a commit that nobody heard of would leave the store ahead of the log.
                with anyio.move_on_after(STORE_PATIENCE, shield=True) as patience:
                    records, state = number(batch, self.state)
                    await self._append(records, state)
                    self.state = state
                    self.log.publish(records)
                if patience.cancelled_caught:
                    raise StoreFailed("The store did not answer.")

    async def _record_ending(self, ending: Ending) -> None:
        event, answer = ending
        records, state = number((event, _DONE), self.state)
        for delay in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2):  # longer than LAST_EVENT in all
            try:
                await self._append(records, state, answer)
            except StoreFailed:
                logger.warning("the store did not take the run's ending yet")
                await anyio.sleep(delay)
            else:
                self.recorded = True
                self.state = state
                self.log.publish(records)
                return

    def _close(self) -> None:
        """End the log. What the store did not keep is not shown as an answer: the ending is then an error."""
        if not self.recorded:
            lost = self._error("The store failed: the end of this run could not be kept.")
            records, self.state = number((lost, _DONE), self.state)
            self.log.publish(records)
        self.log.close()
        self.ended.set()

    async def _append(self, records: Sequence[Record], state: RunState, answer: Message | None = None) -> None:
        with suppress(NotFound):  # its conversation was dropped meanwhile: nobody will ask for it
            await self._store.append(state.run_id, records, state=state, answer=answer)

    async def _leave_with_audience(self, until: anyio.CancelScope) -> None:
        with until:
            await self.audience.gone(self._grace)
            self.cancel("disconnect")

    def _connected(self) -> StreamEvent:
        ids = {"conversation_id": self.state.conversation_id, "workflow_id": self.state.run_id}
        return StreamEvent(type=StreamEventType.CONNECTED, data={**ids, "checkpointing_enabled": False})

    def _completed(self, result: Result) -> Ending:
        text = jsontext.scrub(result.text)
        event = StreamEvent(
            type=StreamEventType.RESPONSE_COMPLETED,
            message=text,
            author=result.author,
            agent_id=result.agent_id,
            quality_score=result.quality_score,
            quality_flag=result.quality_flag,
        )
        return event, Message(
            id=new_id(),
            conversation_id=self.state.conversation_id,
            role="assistant",
            content=text,
            created_at=now(),
            author=result.author,
            agent_id=result.agent_id,
            workflow_id=self.state.run_id,
            quality_score=result.quality_score,
            quality_flag=result.quality_flag,
        )

    def _failed(self, error: Exception) -> StreamEvent:
        cause = innermost(error)
        if isinstance(cause, FleetError):
            logger.warning("run failed: %s", cause)
            return self._error(str(cause))
        logger.error("run failed unexpectedly", exc_info=error)
        return self._error("The run failed unexpectedly.")

    def _error(self, text: str) -> StreamEvent:
        return StreamEvent(
            type=StreamEventType.ERROR, error=jsontext.scrub(text), reasoning_partial=self._reasoned or None
        )


def number(events: Sequence[StreamEvent], state: RunState) -> tuple[list[Record], RunState]:
    """The events as the next records of the log, and the run's state after them."""
    at, records = now(), []
    for seq, event in enumerate(events, state.last_seq + 1):
        state = fold(state, event, at)
        records.append(Record(seq, encode_event(event, workflow_id=state.run_id, at=at)))
    return records, replace(state, last_seq=records[-1].seq)


def interruption(state: RunState) -> tuple[list[Record], RunState]:
    """The ending of a run that a dead process left behind, and its state after it."""
    return number((_CUT_SHORT["shutdown"], _DONE), state)

"""How runs end: the events that say so, as records of the log."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Literal

from agentic_fleet import jsontext
from agentic_fleet.conversations import Message, new_id
from agentic_fleet.errors import FleetError
from agentic_fleet.events import Record, StreamEvent, StreamEventType, encode_event, now
from agentic_fleet.runs.status import INTERRUPTED, fold
from agentic_fleet.turns import Result, RunState, RunStatus, Unfinished

Reason = Literal["cancelled", "disconnect", "shutdown"]
Ending = tuple[StreamEvent, Message | None]
"""The event directly before `done`, and the assistant's message when there is an answer."""

DONE = StreamEvent(type=StreamEventType.DONE)
SUSPENDED = StreamEvent(
    type=StreamEventType.SUSPENDED, message="The run is suspended until its questions are answered."
)
CUT_SHORT: dict[Reason, StreamEvent] = {
    "cancelled": StreamEvent(type=StreamEventType.CANCELLED, message="The run was cancelled."),
    "disconnect": StreamEvent(type=StreamEventType.CANCELLED, message="The run was cancelled: its last watcher left."),
    "shutdown": StreamEvent(
        type=StreamEventType.ERROR, kind=INTERRUPTED, error="The service stopped before the answer was complete."
    ),
}


def number(events: Sequence[StreamEvent], state: RunState) -> tuple[list[Record], RunState]:
    """The events as the next records of the log, and the run's state after them."""
    at, records = now(), []
    for seq, event in enumerate(events, state.last_seq + 1):
        state = fold(state, event, at)
        records.append(Record(seq, encode_event(event, workflow_id=state.run_id, at=at)))
    return records, replace(state, last_seq=records[-1].seq)


def encoded(events: Sequence[StreamEvent], run_id: str, *, after: int) -> list[Record]:
    """The same for events that change nothing about the run."""
    at = now()
    return [Record(seq, encode_event(event, workflow_id=run_id, at=at)) for seq, event in enumerate(events, after + 1)]


def stopped(state: RunState) -> StreamEvent:
    """How a run ends with its process: one that waits for a human can do so without a process."""
    suspends = state.status is RunStatus.WAITING and state.ask is not None and state.ask.enable_checkpointing
    return SUSPENDED if suspends else CUT_SHORT["shutdown"]


def completed(result: Result, state: RunState, *, scores_late: bool) -> Ending:
    """`scores_late`: an answer without a score is going to get one."""
    text = jsontext.scrub(result.text)
    event = StreamEvent(
        type=StreamEventType.RESPONSE_COMPLETED,
        message=text,
        author=result.author,
        agent_id=result.agent_id,
        quality_score=result.quality_score,
        quality_flag=result.quality_flag,
        data={"usage": asdict(result.usage)} if result.usage else None,
    )
    return event, Message(
        id=new_id(),
        conversation_id=state.conversation_id,
        role="assistant",
        content=text,
        created_at=now(),
        author=result.author,
        agent_id=result.agent_id,
        workflow_id=state.run_id,
        quality_score=result.quality_score,
        quality_flag=result.quality_flag,
        quality_pending=scores_late and result.quality_score is None,
    )


def outcome(ending: StreamEvent, state: RunState, failure: FleetError | None = None) -> Result | Unfinished:
    """What a run came to, for those who follow it. `state` is the one after `ending`, `failure` what led to it."""
    if ending.type is not StreamEventType.RESPONSE_COMPLETED:
        unfinished = Unfinished(state.status, ending.error or ending.message or "")
        unfinished.__cause__ = failure
        return unfinished
    return Result(
        text=ending.message or "",
        author=ending.author or "",
        agent_id=ending.agent_id or "",
        quality_score=ending.quality_score,
        quality_flag=ending.quality_flag,
    )

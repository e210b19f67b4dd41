"""How runs end: the events that say so, as records of the log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from agentic_fleet.events import Record, StreamEvent, StreamEventType, encode_event, now
from agentic_fleet.runs.status import INTERRUPTED, fold
from agentic_fleet.turns import RunState, RunStatus

Reason = Literal["cancelled", "disconnect", "shutdown"]

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


def stopped(state: RunState) -> StreamEvent:
    """How a run ends with its process: one that waits for a human can do so without a process."""
    suspends = state.status is RunStatus.WAITING and state.ask is not None and state.ask.enable_checkpointing
    return SUSPENDED if suspends else CUT_SHORT["shutdown"]


def leftover(state: RunState) -> tuple[list[Record], RunState]:
    """The ending of a run that a dead process left behind, and its state after it."""
    return number((stopped(state), DONE), state)

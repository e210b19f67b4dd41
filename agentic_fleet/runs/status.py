"""The states of a run and every legal step between them: all of it, and only here.

Status is a fold over the log: each event moves it by the table below or leaves it. It is stored in the same
transaction as the event, so it can never disagree with the log.
"""

from dataclasses import replace

from agentic_fleet.events import ENDINGS, StreamEvent, StreamEventType
from agentic_fleet.turns import LIVE, RunState, RunStatus

INTERRUPTED = "interrupted"
"""The kind of the `error` that ends a run whose process stopped."""

_STEPS: dict[tuple[RunStatus, StreamEventType, str | None], RunStatus] = {
    (RunStatus.CREATED, StreamEventType.CONNECTED, None): RunStatus.RUNNING,
    (RunStatus.CREATED, StreamEventType.CANCELLED, None): RunStatus.CANCELLED,
    (RunStatus.CREATED, StreamEventType.ERROR, None): RunStatus.FAILED,
    (RunStatus.CREATED, StreamEventType.ERROR, INTERRUPTED): RunStatus.INTERRUPTED,
    (RunStatus.RUNNING, StreamEventType.RESPONSE_COMPLETED, None): RunStatus.COMPLETED,
    (RunStatus.RUNNING, StreamEventType.CANCELLED, None): RunStatus.CANCELLED,
    (RunStatus.RUNNING, StreamEventType.ERROR, None): RunStatus.FAILED,
    (RunStatus.RUNNING, StreamEventType.ERROR, INTERRUPTED): RunStatus.INTERRUPTED,
}
_MOVING = ENDINGS | {StreamEventType.CONNECTED}


class IllegalStep(Exception):
    """A bug of ours: an event came in a state that forbids it."""


def fold(state: RunState, event: StreamEvent, at: int) -> RunState:
    """The state after `event`, which happened `at` (Unix milliseconds). `last_seq` is the log's affair."""
    if event.type not in _MOVING:
        if state.status not in LIVE and event.type is not StreamEventType.DONE:
            raise IllegalStep(f"{event.type} after the end of a run")
        return state
    status = _STEPS.get((state.status, event.type, event.kind))
    if status is None:
        raise IllegalStep(f"{event.type} while {state.status}")
    if event.type is StreamEventType.CONNECTED:
        return replace(state, status=status, started_at=at)
    return replace(state, status=status, completed_at=at, error=event.error, quality_score=event.quality_score)

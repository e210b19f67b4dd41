"""The states of a run and every legal step between them: all of it, and only here.

Status is a fold over the log: each event moves it by the table below or leaves it. It is stored in the same
transaction as the event, so it can never disagree with the log. What a human is asked, and has answered, is a fold too.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentic_fleet.events import ENDINGS, StreamEvent, StreamEventType
from agentic_fleet.runs.requests import REQUEST, RESPONSE
from agentic_fleet.turns import LIVE, PendingRequest, RunState, RunStatus

INTERRUPTED = "interrupted"
"""The kind of the `error` that ends a run whose process stopped."""

_CREATED, _RUNNING, _WAITING = RunStatus.CREATED, RunStatus.RUNNING, RunStatus.WAITING
_ENDINGS: dict[tuple[StreamEventType, str | None], tuple[RunStatus, frozenset[RunStatus]]] = {
    (StreamEventType.RESPONSE_COMPLETED, None): (RunStatus.COMPLETED, frozenset({_RUNNING})),
    (StreamEventType.CANCELLED, None): (RunStatus.CANCELLED, LIVE | {RunStatus.SUSPENDED}),
    (StreamEventType.ERROR, None): (RunStatus.FAILED, LIVE),
    (StreamEventType.ERROR, INTERRUPTED): (RunStatus.INTERRUPTED, LIVE),
    (StreamEventType.SUSPENDED, None): (RunStatus.SUSPENDED, frozenset({_WAITING})),
}
"""Each ending: the status it gives, and the ones it may follow."""
_BEGINNINGS = frozenset({_CREATED, RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.SUSPENDED})
"""What may become live: a new run, and every ended one that has not completed."""


class IllegalStep(Exception):
    """A bug of ours: an event came in a state that forbids it."""


def fold(state: RunState, event: StreamEvent, at: int) -> RunState:
    """The state after `event`, which happened `at` (Unix milliseconds). `last_seq` is the log's affair."""
    if event.type in ENDINGS:
        return _end(state, event, at)
    if event.type is StreamEventType.CONNECTED:
        return _begin(state, at)
    if state.status not in LIVE and event.type is not StreamEventType.DONE:
        raise IllegalStep(f"{event.type} after the end of a run")
    if event.type is StreamEventType.ORCHESTRATOR_MESSAGE and event.data is not None:
        if event.kind == REQUEST:
            return _ask(state, event.data)
        if event.kind == RESPONSE:
            return _answer(state, event.data)
    return state


def _begin(state: RunState, at: int) -> RunState:
    if state.status not in _BEGINNINGS:
        raise IllegalStep(f"connected while {state.status}")
    return replace(
        state,
        status=_WAITING if state.pending_requests else _RUNNING,
        started_at=state.started_at or at,
        completed_at=None,
        error=None,
    )


def _end(state: RunState, event: StreamEvent, at: int) -> RunState:
    status, before = _ENDINGS.get((event.type, event.kind), (None, LIVE))
    if status is None or state.status not in before:
        raise IllegalStep(f"{event.type} while {state.status}")
    return replace(state, status=status, completed_at=at, error=event.error, quality_score=event.quality_score)


def _ask(state: RunState, data: Mapping[str, Any]) -> RunState:
    return replace(state, status=_WAITING, pending_requests=(*state.pending_requests, PendingRequest(**data)))


def _answer(state: RunState, data: Mapping[str, Any]) -> RunState:
    """The run goes on when nothing is open any more."""
    left = tuple(request for request in state.pending_requests if request.request_id != data["request_id"])
    answers = {**state.answers, data["request_id"]: data["response"]}
    return replace(state, status=_WAITING if left else _RUNNING, pending_requests=left, answers=answers)

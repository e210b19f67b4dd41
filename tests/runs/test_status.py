"""The states of a run: every legal step, and no other."""

import itertools

import pytest

from agentic_fleet.events import ENDINGS, StreamEvent, StreamEventType
from agentic_fleet.runs.status import IllegalStep, fold
from agentic_fleet.turns import LIVE, RunState, RunStatus


def a_run(status: RunStatus) -> RunState:
    return RunState(run_id="r", conversation_id="c", task="t", mode="auto", status=status, created_at=1)


def test_a_run_starts_when_it_is_connected_and_completes_with_its_score() -> None:
    running = fold(a_run(RunStatus.CREATED), StreamEvent(type=StreamEventType.CONNECTED), 5)
    assert (running.status, running.started_at) == (RunStatus.RUNNING, 5)
    done = fold(running, StreamEvent(type=StreamEventType.RESPONSE_COMPLETED, quality_score=7.0), 9)
    assert (done.status, done.completed_at, done.quality_score, done.error) == (RunStatus.COMPLETED, 9, 7.0, None)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (StreamEvent(type=StreamEventType.CANCELLED), RunStatus.CANCELLED),
        (StreamEvent(type=StreamEventType.ERROR, error="no"), RunStatus.FAILED),
        (StreamEvent(type=StreamEventType.ERROR, kind="interrupted", error="no"), RunStatus.INTERRUPTED),
    ],
)
@pytest.mark.parametrize("before", [RunStatus.CREATED, RunStatus.RUNNING])
def test_a_live_run_may_end_badly_at_any_time(event: StreamEvent, status: RunStatus, before: RunStatus) -> None:
    assert fold(a_run(before), event, 3).status is status


def test_an_answer_needs_a_run_that_has_begun() -> None:
    with pytest.raises(IllegalStep):
        fold(a_run(RunStatus.CREATED), StreamEvent(type=StreamEventType.RESPONSE_COMPLETED), 1)


@pytest.mark.parametrize(
    ("status", "type"),
    list(itertools.product(sorted(set(RunStatus) - LIVE), sorted(set(StreamEventType) - {StreamEventType.DONE}))),
)
def test_nothing_but_done_follows_an_ending(status: RunStatus, type: StreamEventType) -> None:
    with pytest.raises(IllegalStep):
        fold(a_run(status), StreamEvent(type=type), 1)


def test_events_that_are_no_steps_leave_the_state_alone() -> None:
    state = a_run(RunStatus.RUNNING)
    for type in set(StreamEventType) - ENDINGS - {StreamEventType.CONNECTED}:
        assert fold(state, StreamEvent(type=type), 1) is state

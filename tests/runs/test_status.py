"""The states of a run: every legal step, and no other."""

import itertools
from dataclasses import replace

import pytest

from agentic_fleet.events import ENDINGS, StreamEvent, StreamEventType
from agentic_fleet.runs.requests import request_event, response_event
from agentic_fleet.runs.status import IllegalStep, fold
from agentic_fleet.turns import LIVE, PendingRequest, RunState, RunStatus
from tests.script import question

OPENING = {StreamEventType.DONE, StreamEventType.CONNECTED}


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
@pytest.mark.parametrize("before", sorted(LIVE))
def test_a_live_run_may_end_badly_at_any_time(event: StreamEvent, status: RunStatus, before: RunStatus) -> None:
    assert fold(a_run(before), event, 3).status is status


def test_an_answer_needs_a_run_that_has_begun() -> None:
    with pytest.raises(IllegalStep):
        fold(a_run(RunStatus.CREATED), StreamEvent(type=StreamEventType.RESPONSE_COMPLETED), 1)


@pytest.mark.parametrize(
    ("status", "type"),
    list(itertools.product(sorted(set(RunStatus) - LIVE), sorted(set(StreamEventType) - OPENING))),
)
def test_nothing_but_done_a_resumption_or_giving_up_on_an_answer_follows_an_ending(
    status: RunStatus, type: StreamEventType
) -> None:
    if (status, type) == (RunStatus.SUSPENDED, StreamEventType.CANCELLED):
        assert fold(a_run(status), StreamEvent(type=type), 1).status is RunStatus.CANCELLED
        return
    with pytest.raises(IllegalStep):
        fold(a_run(status), StreamEvent(type=type), 1)


def test_events_that_are_no_steps_leave_the_state_alone() -> None:
    state = a_run(RunStatus.RUNNING)
    for type in set(StreamEventType) - ENDINGS - {StreamEventType.CONNECTED}:
        assert fold(state, StreamEvent(type=type), 1) is state


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED])
def test_a_run_that_ended_without_an_answer_may_begin_again(status: RunStatus) -> None:
    ended = replace(a_run(status), started_at=2, completed_at=3, error="no")
    again = fold(ended, StreamEvent(type=StreamEventType.CONNECTED), 9)
    assert (again.status, again.started_at, again.completed_at, again.error) == (RunStatus.RUNNING, 2, None, None)


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.RUNNING])
def test_a_run_that_has_completed_or_is_live_does_not_begin_again(status: RunStatus) -> None:
    with pytest.raises(IllegalStep):
        fold(a_run(status), StreamEvent(type=StreamEventType.CONNECTED), 9)


def test_questions_wait_until_all_are_answered() -> None:
    state = a_run(RunStatus.RUNNING)
    for request_id in ("a", "b"):
        state = fold(state, request_event(question(request_id)), 1)
    assert (state.status, len(state.pending_requests)) == (RunStatus.WAITING, 2)
    state = fold(state, response_event("a", {"any": ["json", None]}), 2)
    assert state.status is RunStatus.WAITING
    state = fold(state, response_event("b", None), 3)
    assert (state.status, state.pending_requests) == (RunStatus.RUNNING, ())
    assert state.answers == {"a": {"any": ["json", None]}, "b": None}


def test_only_a_waiting_run_can_be_suspended_and_it_waits_again_when_it_goes_on() -> None:
    with pytest.raises(IllegalStep):
        fold(a_run(RunStatus.RUNNING), StreamEvent(type=StreamEventType.SUSPENDED), 1)
    waiting = fold(a_run(RunStatus.RUNNING), request_event(question("a")), 1)
    suspended = fold(waiting, StreamEvent(type=StreamEventType.SUSPENDED), 2)
    assert suspended.status is RunStatus.SUSPENDED
    assert fold(suspended, StreamEvent(type=StreamEventType.CONNECTED), 3).status is RunStatus.WAITING


@pytest.mark.parametrize(
    ("request_type", "title"),
    [
        ("ToolApproval", "Tool approval required"),
        ("UserInput", "User input required"),
        ("PlanReview", "Human intervention required"),
        ("Else", "Action required"),
    ],
)
def test_a_request_says_what_is_wanted_in_the_words_that_clients_know(request_type: str, title: str) -> None:
    asked = PendingRequest(request_id="a", request_type=request_type, request={})
    assert request_event(asked).message == title

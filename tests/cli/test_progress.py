"""What a person reads in the terminal while a run goes on."""

from typing import Any

import pytest

from agentic_fleet.cli.asked import lines
from agentic_fleet.cli.progress import Progress

QUESTION = {"request_id": "r1", "request_type": "UserInput", "request": {"question": "Which colour?"}}


def shown(capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> list[str]:
    """The lines, without the blanks around them."""
    with Progress(as_json=False, url="http://127.0.0.1:8123") as progress:
        for event in events:
            progress.show(event)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def says(agent: str, *tokens: str, type: str = "agent.delta") -> list[dict[str, Any]]:
    return [{"type": type, "agent_id": agent, "delta": token} for token in tokens]


def through(agent: str) -> dict[str, Any]:
    return {"type": "agent.output", "agent_id": agent, "message": "all of it"}


def test_agents_that_speak_at_once_are_shown_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = says("analyst", "One ", "two"), says("writer", "Three ", "four")
    events = [event for pair in zip(first, second, strict=True) for event in pair]
    lines = shown(capsys, *events, through("analyst"), *says("writer", " five"), through("writer"))
    assert lines == ["analyst: One two", "writer: Three four five"]


def test_who_was_through_first_does_not_keep_the_floor(capsys: pytest.CaptureFixture[str]) -> None:
    begun = says("analyst", "One") + says("writer", "Two") + says("coder", "Three")
    lines = shown(capsys, *begun, through("writer"), through("analyst"), *says("coder", " four"), through("coder"))
    assert lines == ["analyst: One", "writer: Two", "coder: Three four"]


def test_what_was_kept_for_later_is_shown_when_the_run_ends_early(capsys: pytest.CaptureFixture[str]) -> None:
    ended = {"type": "cancelled", "message": "The run was cancelled."}
    lines = shown(capsys, *says("analyst", "One"), *says("writer", "Two"), ended)
    assert lines == ["analyst: One", "writer: Two", "cancelled The run was cancelled."]


def test_an_answer_that_was_heard_before_begins_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, *says("analyst", "Yes."), *says("analyst", "Yes.", type="response.delta"))
    assert lines == ["analyst: Yes.", "Yes."]


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"type": "orchestrator.thought", "kind": "analysis", "message": "a\x1b[2Jb"}
    lines = shown(capsys, told, *says("writer", "\x1b]0;title\x07", "c\x9bd", type="response.delta"))
    assert lines == ["analysis a\ufffd[2Jb", "\ufffd]0;title\ufffdc\ufffdd"]


def test_a_question_comes_with_the_command_that_answers_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"type": "orchestrator.message", "kind": "request", "message": "User input required", "data": QUESTION}
    command = shown(capsys, asked | {"workflow_id": "w1"})[-1]
    assert "curl http://127.0.0.1:8123/api/v1/runs/w1/responses" in command
    assert '{"request_id": "r1", "response": "..."}' in command
    assert "Authorization" not in command
    with Progress(as_json=False, url="http://127.0.0.1:8123", with_key=True) as progress:
        progress.show(asked | {"workflow_id": "w1"})
    assert '-H "Authorization: Bearer $FLEET_API_KEY"' in capsys.readouterr().out


def test_who_is_to_approve_a_call_sees_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    call = {"tool": "pay", "agent": "clerk", "arguments": {"payee": "x" * 500 + "\x1b[8m", "amount": 7}}
    asked = {"request_id": "r1", "request_type": "ToolApproval", "request": call}
    event = {"type": "orchestrator.message", "kind": "request", "message": "Tool approval required", "data": asked}
    assert shown(capsys, event | {"workflow_id": "w1"})[:4] == [
        "question Tool approval required",
        "clerk wants to use pay",
        f"payee: {'x' * 500}\ufffd[8m",
        "amount: 7",
    ]


def test_the_end_says_how_long_it_took_and_what_it_used(capsys: pytest.CaptureFixture[str]) -> None:
    began = {"type": "connected", "data": {"workflow_id": "w1"}, "timestamp": "2026-01-01T00:00:59.000Z"}
    ended = {
        "type": "response.completed",
        "author": "writer",
        "quality_score": 8.0,
        "timestamp": "2026-01-01T00:01:03.120Z",
        "data": {"usage": {"prompt_tokens": 820, "completion_tokens": 210}},
    }
    assert shown(capsys, began, ended)[-1] == "done answered by writer, quality 8/10, 4.1 s, 820 tokens in, 210 out"


@pytest.mark.parametrize(
    ("type", "asked", "first"),
    [
        ("UserInput", {"question": "Why?", "agent": "coder"}, "coder asks: Why?"),
        ("PlanReview", {"mode": "parallel", "reason": "two views", "agents": ["coder"]}, "the plan is parallel"),
        ("Other", {"a": 1}, "a: 1"),
        ("Other", "words", "words"),
        ("Other", {}, "?"),
    ],
)
def test_every_kind_of_question_is_readable(type: str, asked: Any, first: str) -> None:
    assert lines({"request_type": type, "request": asked})[0].startswith(first)

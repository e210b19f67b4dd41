"""Events as clients see them."""

import json

import pytest

from agentic_fleet.events import (
    MAX_EVENT,
    EventCategory,
    StreamEvent,
    StreamEventType,
    classify_event,
    encode_event,
    lean,
    rfc3339,
)
from tests.faults.table import row

DELTA = StreamEvent(type=StreamEventType.RESPONSE_DELTA, delta="hello ", agent_id="writer")


def test_an_event_is_one_json_object_without_null_fields() -> None:
    assert json.loads(encode_event(DELTA, workflow_id="r1", at=1_795_374_000_007)) == {
        "type": "response.delta",
        "delta": "hello ",
        "agent_id": "writer",
        "category": "response",
        "ui_hint": {"component": "MessageBubble", "priority": "high", "collapsible": False},
        "workflow_id": "r1",
        "timestamp": "2026-11-22T19:00:00.007Z",
    }


def test_the_lean_form_drops_what_follows_from_the_rest_and_nothing_else() -> None:
    event = StreamEvent(
        type=StreamEventType.AGENT_OUTPUT, message='a ,"category": b', data={"category": {"ui_hint": ',"category":'}}
    )
    whole = json.loads(encode_event(event, workflow_id="r1", at=0))
    for name in ("category", "ui_hint", "workflow_id", "timestamp"):
        del whole[name]
    assert json.loads(lean(encode_event(event, workflow_id="r1", at=0))) == whole


def test_a_token_costs_at_most_320_bytes_in_full_and_130_lean() -> None:
    body = encode_event(DELTA, workflow_id="0123456789abcdef0123", at=0)
    frame = len(b"id: 0123456789abcdef0123:12345\ndata: \n\n")
    assert len(body) + frame <= 320
    assert len(lean(body)) + frame <= 130


@pytest.mark.parametrize(
    ("kind", "category", "priority", "icon"),
    [
        ("analysis", "thought", "medium", "analysis"),
        ("routing", "planning", "high", "routing"),
        ("execution", "status", "low", "progress"),
        ("progress", "status", "low", "progress"),
        ("quality", "output", "medium", "quality"),
        ("handoff", "planning", "high", "handoff"),
        ("of its own", "thought", "medium", None),
    ],
)
def test_thoughts_are_classified_by_kind(kind: str, category: str, priority: str, icon: str | None) -> None:
    found, hint = classify_event(StreamEventType.ORCHESTRATOR_THOUGHT, kind)
    assert (found, hint.priority, hint.icon_hint) == (category, priority, icon)
    event = StreamEvent(type=StreamEventType.ORCHESTRATOR_THOUGHT, kind=kind)
    assert json.loads(encode_event(event, workflow_id="r", at=0))["category"] == category


def test_every_type_has_a_category_and_the_unlisted_are_quiet_status() -> None:
    for type in StreamEventType:
        assert classify_event(type)[0] in EventCategory
    assert classify_event(StreamEventType.DONE)[1].priority == "low"


def test_times_are_utc_with_milliseconds() -> None:
    assert rfc3339(999) == "1970-01-01T00:00:00.999Z"


@row(46)
def test_an_event_that_is_too_long_is_shortened_and_says_so() -> None:
    data = {"tool": "read", "call_id": "c1", "result": "\u00e9" * 300_000, "parts": [1] * 9000}
    body = encode_event(StreamEvent(type=StreamEventType.TOOL_RESULT, data=data), workflow_id="r", at=0)
    told = json.loads(body)
    assert len(body) < MAX_EVENT
    assert told["data"] == {"tool": "read", "call_id": "c1", "cut": {"bytes": told["data"]["cut"]["bytes"]}}
    assert told["data"]["cut"]["bytes"] > 1_800_000
    text = "first " + "\U0001f600" * 100_000 + " last"
    part = StreamEvent(type=StreamEventType.AGENT_OUTPUT, message=text, author="Writer", agent_id="writer")
    told = json.loads(encode_event(part, workflow_id="r", at=0))
    assert told["message"].startswith("first ") and told["message"].endswith(" last") and "[...]" in told["message"]
    assert (told["author"], told["agent_id"]) == ("Writer", "writer")
    assert json.loads(lean(encode_event(part, workflow_id="r", at=0)))["data"]["cut"]


def test_the_answer_and_its_tokens_are_never_shortened() -> None:
    text = "x" * (2 * MAX_EVENT)
    for event in (
        StreamEvent(type=StreamEventType.RESPONSE_DELTA, delta=text),
        StreamEvent(type=StreamEventType.RESPONSE_COMPLETED, message=text),
    ):
        told = json.loads(encode_event(event, workflow_id="r", at=0))
        assert told.get("delta", told.get("message")) == text

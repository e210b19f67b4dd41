"""From the framework's events to ours: every type has a rule, and each rule is a pure function."""

import logging
import typing
from types import SimpleNamespace
from typing import Any

import pytest
from agent_framework import (
    AgentResponse,
    AgentResponseUpdate,
    Content,
    Message,
    WorkflowEvent,
    WorkflowEventType,
    WorkflowRunState,
)

from agentic_fleet import jsontext
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Result
from agentic_fleet.workflows.mapping import (
    HANDLERS,
    PHASE,
    REFINEMENT,
    Phase,
    Refinement,
    map_update,
    map_workflow_event,
)


def event(type: str, data: Any = None, **fields: Any) -> WorkflowEvent[Any]:
    return WorkflowEvent(type, data, **fields)  # type: ignore[arg-type]  # any type string is allowed


def mapped(given: WorkflowEvent[Any]) -> StreamEvent:
    found, _ = map_workflow_event(given, "")
    assert isinstance(found, StreamEvent)
    return found


def test_every_event_type_of_the_framework_and_our_own_has_a_rule() -> None:
    assert set(HANDLERS) == {*typing.get_args(WorkflowEventType), PHASE, REFINEMENT}


def test_an_unknown_type_is_skipped_with_one_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "agentic_fleet"):
        assert map_workflow_event(event("of tomorrow"), "so far") == (None, "so far")
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]


@pytest.mark.parametrize(
    "type",
    ["started", "superstep_started", "superstep_completed", "executor_invoked", "executor_completed"]
    + ["executor_bypassed", "executor_failed", "failed", "request_info", "warning", "error"],
)
def test_how_the_graph_is_run_is_not_shown(type: str) -> None:
    assert map_workflow_event(event(type, "a whole conversation"), "so far") == (None, "so far")


def test_only_being_at_work_is_a_status_worth_showing() -> None:
    shown = mapped(WorkflowEvent.status(WorkflowRunState.IN_PROGRESS))
    assert (shown.type, shown.kind, shown.message) == ("orchestrator.message", "progress", "The team is at work.")
    for state in set(WorkflowRunState) - {WorkflowRunState.IN_PROGRESS}:
        assert map_workflow_event(WorkflowEvent.status(state), "") == (None, "")


def test_a_phase_becomes_a_thought_with_its_quality() -> None:
    phase = Phase(kind="quality", message="8 of 10.", data={"score": 8}, quality_score=8, quality_flag="low_confidence")
    shown = mapped(event(PHASE, phase))
    assert shown == StreamEvent(
        type=StreamEventType.ORCHESTRATOR_THOUGHT,
        kind="quality",
        message="8 of 10.",
        data={"score": 8},
        quality_score=8,
        quality_flag="low_confidence",
    )


def test_reasoning_is_completed_by_the_first_text_after_it() -> None:
    updates = [
        [Content("text_reasoning", text="hm")],
        [Content("text_reasoning", text=", so"), Content("text", text="Yes")],
        [Content("text", text=".")],
    ]
    shown: list[StreamEvent] = []
    reasoning = ""
    for contents in updates:
        update = AgentResponseUpdate(contents=contents, role="assistant")
        found, reasoning = map_workflow_event(event("intermediate", update, executor_id="writer"), reasoning)
        shown += found if isinstance(found, list) else []
    assert [(e.type, e.reasoning or e.delta, e.agent_id) for e in shown] == [
        ("reasoning.delta", "hm", "writer"),
        ("reasoning.delta", ", so", "writer"),
        ("reasoning.completed", "hm, so", "writer"),
        ("agent.delta", "Yes", "writer"),
        ("agent.delta", ".", "writer"),
    ]
    assert reasoning == ""


def test_a_whole_response_ends_open_reasoning_too() -> None:
    response = AgentResponse(messages=[Message("assistant", ["All of it."])])
    found, reasoning = map_workflow_event(event("output", response, executor_id="writer"), "hm")
    assert isinstance(found, list)
    assert [(e.type, e.reasoning or e.message) for e in found] == [
        ("reasoning.completed", "hm"),
        ("agent.output", "All of it."),
    ]
    assert reasoning == ""


def test_updates_without_text_show_nothing() -> None:
    update = AgentResponseUpdate(contents=[Content("text", text=""), Content.from_usage({})], role="assistant")
    assert map_update(update, "", agent_id="writer", text_type=StreamEventType.RESPONSE_DELTA) == ([], "")
    assert map_workflow_event(event("output", update), "") == (None, "")


def test_our_own_result_is_left_to_the_run() -> None:
    result = Result(text="x", author="writer", agent_id="writer")
    assert map_workflow_event(event("output", result), "") == (None, "")


def test_a_refinement_says_which_round_begins() -> None:
    shown = mapped(event(REFINEMENT, Refinement(round=2, of=3, missing="The poem.")))
    assert (shown.type, shown.kind) == ("orchestrator.message", "refinement")
    assert shown.message == "The answer could be better: round 2 of at most 3."
    assert shown.data == {"round": 2, "of": 3, "missing": "The poem."}


class GroupChatRequestSentEvent(SimpleNamespace):
    pass


class GroupChatResponseReceivedEvent(SimpleNamespace):
    pass


@pytest.mark.parametrize(
    ("type", "data", "kind", "message"),
    [
        (
            "group_chat",
            GroupChatRequestSentEvent(round_index=2, participant_name="ann"),
            "group_chat",
            "ann has the floor.",
        ),
        (
            "group_chat",
            GroupChatResponseReceivedEvent(round_index=2, participant_name="ann"),
            "group_chat",
            "ann has spoken.",
        ),
        ("handoff_sent", SimpleNamespace(source="ann", target="bob"), "handoff", "ann hands over to bob."),
        (
            "magentic_orchestrator",
            SimpleNamespace(event_type="plan_created", content=Message("assistant", ["first this"])),
            "plan_created",
            "The orchestrator reports: plan created.",
        ),
    ],
)
def test_orchestrations_think_aloud(type: str, data: Any, kind: str, message: str) -> None:
    shown = mapped(event(type, data))
    assert (shown.type, shown.kind, shown.message) == ("orchestrator.thought", kind, message)
    assert jsontext.encode(shown)

"""From the framework's events to ours: a table from an event's type to a small pure function.

Tokens do not come this way (they go straight from the model to the run: speech.py); phases do, and whatever an
orchestration of the framework may report. Events that only say how the graph is run are of no use to a client and map
to nothing.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_framework import AgentResponse, AgentResponseUpdate, Message, WorkflowEvent, WorkflowRunState

# what the framework says in the model's place when tools have come to no end; it has no public name for it
from agent_framework._tools import _FUNCTION_INVOCATION_LIMIT_FALLBACK_TEXT as NOBODYS_WORDS

from agentic_fleet.events import StreamEvent, StreamEventType

logger = logging.getLogger(__name__)

PHASE = "phase"
REFINEMENT = "refinement"
"""The types of our own workflow events; their data is a `Phase` and a `Refinement`."""

Mapped = tuple[StreamEvent | list[StreamEvent] | None, str]
Event = WorkflowEvent[Any]
_TYPE = StreamEventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one phase of the supervisor found: a sentence for people and the same for programs."""

    kind: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)
    quality_score: float | None = None
    quality_flag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The answer goes back to the team. Its next version is the `response.delta` texts after this event."""

    round: int  # the one that begins
    of: int  # rounds at most
    missing: str


def map_workflow_event(event: Event, accumulated_reasoning: str) -> Mapped:
    """The stream events for `event`, and the reasoning that is open after it. Unknown types map to nothing."""
    handler = HANDLERS.get(event.type)
    if handler is None:
        logger.debug("a workflow event of an unknown type was skipped")
        return None, accumulated_reasoning
    return handler(event, accumulated_reasoning)


def map_update(
    update: AgentResponseUpdate, reasoning: str, *, agent_id: str, text_type: StreamEventType
) -> tuple[list[StreamEvent], str]:
    """One update of an agent's stream. The first text after reasoning completes that reasoning."""
    events: list[StreamEvent] = []
    for content in update.contents:
        said = content.text if content.text != NOBODYS_WORDS else None
        thought, text = (said if content.type == type else None for type in ("text_reasoning", "text"))
        more, reasoning = map_words(thought or "", text or "", reasoning, agent_id=agent_id, text_type=text_type)
        events += more
    return events, reasoning


def map_words(
    thought: str, text: str, reasoning: str, *, agent_id: str, text_type: StreamEventType
) -> tuple[list[StreamEvent], str]:
    """What a model has thought and then said. The first text after reasoning completes that reasoning."""
    events: list[StreamEvent] = []
    if thought:
        reasoning += thought
        events.append(_of(agent_id, _TYPE.REASONING_DELTA, reasoning=thought))
    if text:
        events += complete_reasoning(reasoning, agent_id)
        reasoning = ""
        events.append(_of(agent_id, text_type, delta=text))
    return events, reasoning


def complete_reasoning(reasoning: str, agent_id: str) -> list[StreamEvent]:
    """The event that ends `reasoning`, if there is any."""
    return [_of(agent_id, _TYPE.REASONING_COMPLETED, reasoning=reasoning)] if reasoning else []


def _of(agent_id: str, type: StreamEventType, **fields: Any) -> StreamEvent:
    return StreamEvent(type=type, agent_id=agent_id, author=agent_id, **fields)


def _nothing(event: Event, reasoning: str) -> Mapped:
    return None, reasoning


def _status(event: Event, reasoning: str) -> Mapped:
    if event.state is not WorkflowRunState.IN_PROGRESS:
        return None, reasoning
    return StreamEvent(type=_TYPE.ORCHESTRATOR_MESSAGE, kind="progress", message="The team is at work."), reasoning


def _phase(event: Event, reasoning: str) -> Mapped:
    phase: Phase = event.data
    thought = _thought(phase.kind, phase.message, dict(phase.data))
    if phase.quality_score is None:
        return thought, reasoning
    return StreamEvent(
        type=thought.type,
        kind=thought.kind,
        message=thought.message,
        data=thought.data,
        quality_score=phase.quality_score,
        quality_flag=phase.quality_flag,
    ), reasoning


def _refinement(event: Event, reasoning: str) -> Mapped:
    again: Refinement = event.data
    message = f"The answer could be better: round {again.round} of at most {again.of}."
    data = dataclasses.asdict(again)
    return StreamEvent(type=_TYPE.ORCHESTRATOR_MESSAGE, kind=REFINEMENT, message=message, data=data), reasoning


def _output(event: Event, reasoning: str) -> Mapped:
    agent_id = event.executor_id or "agent"
    match event.data:
        case AgentResponseUpdate() as update:
            events, reasoning = map_update(update, reasoning, agent_id=agent_id, text_type=_TYPE.AGENT_DELTA)
            return events or None, reasoning
        case AgentResponse() as response:
            output = _of(agent_id, _TYPE.AGENT_OUTPUT, message=response.text)
            return [*complete_reasoning(reasoning, agent_id), output], ""
        case _:  # our own result, which the run turns into its last event
            return None, reasoning


def _group_chat(event: Event, reasoning: str) -> Mapped:
    who, turn = getattr(event.data, "participant_name", "someone"), getattr(event.data, "round_index", None)
    asked = "Request" in type(event.data).__name__
    message = f"{who} has the floor." if asked else f"{who} has spoken."
    return _thought("group_chat", message, {"participant": who, "round": turn}), reasoning


def _handoff(event: Event, reasoning: str) -> Mapped:
    source, target = event.data.source, event.data.target
    return _thought("handoff", f"{source} hands over to {target}.", {"source": source, "target": target}), reasoning


def _magentic(event: Event, reasoning: str) -> Mapped:
    step = str(getattr(event.data.event_type, "value", event.data.event_type))
    message = f"The orchestrator reports: {step.replace('_', ' ')}."
    return _thought(step, message, {"content": _plain(event.data.content)}), reasoning


def _thought(kind: str, message: str, data: dict[str, Any]) -> StreamEvent:
    return StreamEvent(type=_TYPE.ORCHESTRATOR_THOUGHT, kind=kind, message=message, data=data)


def _plain(value: Any) -> Any:
    """Something that JSON can carry."""
    match value:
        case None | str() | bool() | int() | float() | dict() | list():
            return value
        case Message():
            return value.text
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        case _:
            return value.to_dict() if hasattr(value, "to_dict") else str(value)


UNHEARD = frozenset(
    {
        "started",
        "superstep_started",
        "superstep_completed",
        "executor_invoked",  # carries whole conversations
        "executor_completed",
        "executor_bypassed",
        "executor_failed",  # the exception itself follows
        "failed",
        "request_info",  # a run asks its human by itself, when a workflow pauses
        "warning",
        "error",
    }
)
"""Types that map to nothing."""
HANDLERS: Mapping[str, Callable[[Event, str], Mapped]] = {
    PHASE: _phase,
    REFINEMENT: _refinement,
    "status": _status,
    "output": _output,
    "intermediate": _output,
    "data": _output,
    "group_chat": _group_chat,
    "handoff_sent": _handoff,
    "magentic_orchestrator": _magentic,
    **dict.fromkeys(UNHEARD, _nothing),
}

"""What is known, as JSON: the shapes of runs, conversations and events on the wire."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from starlette.responses import Response

from agentic_fleet import events, jsontext
from agentic_fleet.about import AgentCard, Check
from agentic_fleet.conversations import Conversation, Message
from agentic_fleet.events import Record, StreamEventType
from agentic_fleet.turns import LIVE, Checkpoint, Mode, PendingRequest, RunState, RunStatus

ANSWERABLE = LIVE | {RunStatus.SUSPENDED}
"""What a run asked before it was cancelled or failed is not open any more: it asks again when it is resumed."""


class RequestView(TypedDict):
    request_id: str
    request_type: str
    request: Any


class RunView(TypedDict):
    run_id: str
    workflow_id: str  # the same, in the original's word
    conversation_id: str
    task: str
    status: RunStatus
    mode: Mode
    created_at: str
    started_at: str | None
    completed_at: str | None
    last_event_id: str | None
    pending_requests: list[RequestView]
    error: str | None
    quality_score: float | None


class CheckpointView(TypedDict):
    checkpoint_id: str
    phase: str
    at: str


class AgentView(TypedDict):
    name: str
    description: str
    type: str
    tools: Sequence[str]
    unavailable_tools: dict[str, str]  # by name: what keeps it from working
    model: str


class MessageView(TypedDict):
    id: str
    role: Literal["user", "assistant"]
    content: str
    created_at: str
    author: str | None
    agent_id: str | None
    workflow_id: str | None
    quality_score: float | None
    quality_flag: str | None
    quality_pending: bool


class ConversationView(TypedDict):
    id: str
    conversation_id: str  # the same, in the original's word
    title: str
    created_at: str
    updated_at: str
    messages: list[MessageView]


class PageView(TypedDict):
    """Events of a run as they are in its stream, each with its id."""

    events: list[dict[str, Any]]
    last_event_id: str
    ended: bool  # the run is over and this is its last page


class CancelledView(TypedDict):
    status: RunStatus
    workflow_id: str


class AnsweredView(TypedDict):
    status: Literal["ok"]
    request_id: str


class CallerView(TypedDict):
    """`operator`: may change how the team decides, for everybody."""

    caller: str
    operator: bool


class IndexView(TypedDict):
    service: str
    version: str
    links: list[str]


class HealthView(TypedDict):
    status: Literal["ok", "failed"]
    version: str
    checks: Mapping[str, Check]
    tools: Mapping[str, Check]


class ReadyView(TypedDict):
    status: Literal["ready"]


class FieldView(TypedDict):
    field: str
    problem: str


class ProblemView(TypedDict):
    """RFC 9457, section 3.1."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None
    errors: NotRequired[list[FieldView]]


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(jsontext.encode(value), status, headers=headers, media_type="application/json")


def run(state: RunState) -> RunView:
    return {
        "run_id": state.run_id,
        "workflow_id": state.run_id,
        "conversation_id": state.conversation_id,
        "task": state.task,
        "status": state.status,
        "mode": state.mode,
        "created_at": events.rfc3339(state.created_at),
        "started_at": _time(state.started_at),
        "completed_at": _time(state.completed_at),
        "last_event_id": cursor(state.run_id, state.last_seq) if state.last_seq else None,
        "pending_requests": [request(each) for each in state.pending_requests if state.status in ANSWERABLE],
        "error": state.error,
        "quality_score": state.quality_score,
    }


def request(it: PendingRequest) -> RequestView:
    return {"request_id": it.request_id, "request_type": it.request_type, "request": it.request}


def checkpoint(it: Checkpoint) -> CheckpointView:
    """Its body is the workflow's affair."""
    return {"checkpoint_id": it.checkpoint_id, "phase": it.phase, "at": events.rfc3339(it.at)}


def agent(card: AgentCard, tools: Mapping[str, Check]) -> AgentView:
    broken = {name: tools[name].detail for name in card.tools if name in tools and tools[name].status == "failed"}
    return {
        "name": card.name,
        "description": card.description,
        "type": card.type,
        "tools": card.tools,
        "unavailable_tools": broken,
        "model": card.model,
    }


def conversation(it: Conversation) -> ConversationView:
    return {
        "id": it.id,
        "conversation_id": it.id,
        "title": it.title,
        "created_at": events.rfc3339(it.created_at),
        "updated_at": events.rfc3339(it.updated_at),
        "messages": [message(each) for each in it.messages],
    }


def message(it: Message) -> MessageView:
    return {
        "id": it.id,
        "role": it.role,
        "content": it.content,
        "created_at": events.rfc3339(it.created_at),
        "author": it.author,
        "agent_id": it.agent_id,
        "workflow_id": it.workflow_id,
        "quality_score": it.quality_score,
        "quality_flag": it.quality_flag,
        "quality_pending": it.quality_pending,
    }


def event(run_id: str, record: Record, *, lean: bool = False) -> bytes:
    """A stored event with its id in front: the frame of a socket, an item of a page."""
    body = events.lean(record.body) if lean else record.body
    return b'{"id":"%s:%d",%s' % (run_id.encode(), record.seq, body[1:])


def notice(type: StreamEventType, **fields: object) -> bytes:
    """An event that belongs to a connection and not to a run: it has no id and no place in any log."""
    category, hint = events.classify_event(type)
    last = {"category": category, "ui_hint": hint, "timestamp": events.rfc3339(events.now())}
    return jsontext.encode({"type": type, **fields, **last})


def cursor(run_id: str, seq: int) -> str:
    """A position in a run's log, as clients send it back."""
    return f"{run_id}:{seq}"


def _time(at: int | None) -> str | None:
    return None if at is None else events.rfc3339(at)

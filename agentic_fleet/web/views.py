"""What is known, as JSON: the shapes of runs, conversations and events on the wire."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from agentic_fleet import events, jsontext
from agentic_fleet.about import AgentCard, Check
from agentic_fleet.conversations import Conversation, Message
from agentic_fleet.events import Record, StreamEventType
from agentic_fleet.turns import LIVE, Checkpoint, PendingRequest, RunState, RunStatus

Json = dict[str, Any]

ANSWERABLE = LIVE | {RunStatus.SUSPENDED}
"""What a run asked before it was cancelled or failed is not open any more: it asks again when it is resumed."""


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(jsontext.encode(value), status, headers=headers, media_type="application/json")


def run(state: RunState) -> Json:
    return {
        "run_id": state.run_id,
        "workflow_id": state.run_id,
        "conversation_id": state.conversation_id,
        "task": state.task,
        "status": state.status,
        "mode": state.mode,
        "created_at": _time(state.created_at),
        "started_at": _time(state.started_at),
        "completed_at": _time(state.completed_at),
        "last_event_id": cursor(state.run_id, state.last_seq) if state.last_seq else None,
        "pending_requests": [request(each) for each in state.pending_requests if state.status in ANSWERABLE],
        "error": state.error,
        "quality_score": state.quality_score,
    }


def request(it: PendingRequest) -> Json:
    return {"request_id": it.request_id, "request_type": it.request_type, "request": it.request}


def checkpoint(it: Checkpoint) -> Json:
    """Its body is the workflow's affair."""
    return {"checkpoint_id": it.checkpoint_id, "phase": it.phase, "at": _time(it.at)}


def agent(card: AgentCard, tools: Mapping[str, Check]) -> Json:
    """With what keeps its tools from working, by name."""
    broken = {name: tools[name].detail for name in card.tools if name in tools and tools[name].status == "failed"}
    return {
        "name": card.name,
        "description": card.description,
        "type": card.type,
        "tools": card.tools,
        "unavailable_tools": broken,
        "model": card.model,
    }


def conversation(it: Conversation) -> Json:
    return {
        "id": it.id,
        "conversation_id": it.id,
        "title": it.title,
        "created_at": _time(it.created_at),
        "updated_at": _time(it.updated_at),
        "messages": [message(each) for each in it.messages],
    }


def message(it: Message) -> Json:
    return {
        "id": it.id,
        "role": it.role,
        "content": it.content,
        "created_at": _time(it.created_at),
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

"""The events of a run, as clients see them (one JSON object each), and how an interface may show them.

An event is encoded once, by `encode_event`; the store, every watcher and every wire share those bytes. Its last four
fields (category, ui_hint, workflow_id, timestamp) follow from the others or from the stream, and stand last, so that
the lean form is a slice of the full one (`lean`).
"""

import time
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, Literal

import msgspec

from agentic_fleet import jsontext


class StreamEventType(StrEnum):
    CONNECTED = "connected"
    ORCHESTRATOR_MESSAGE = "orchestrator.message"
    ORCHESTRATOR_THOUGHT = "orchestrator.thought"
    AGENT_START = "agent.start"
    AGENT_COMPLETE = "agent.complete"
    AGENT_MESSAGE = "agent.message"
    AGENT_OUTPUT = "agent.output"
    AGENT_DELTA = "agent.delta"
    TOOL_CALL = "tool.call"
    TOOL_RESULT = "tool.result"
    REASONING_DELTA = "reasoning.delta"
    REASONING_COMPLETED = "reasoning.completed"
    RESPONSE_DELTA = "response.delta"
    RESPONSE_COMPLETED = "response.completed"
    ERROR = "error"
    CANCELLED = "cancelled"
    SUSPENDED = "suspended"
    HEARTBEAT = "heartbeat"
    DONE = "done"


ENDINGS = frozenset(
    {
        StreamEventType.RESPONSE_COMPLETED,
        StreamEventType.ERROR,
        StreamEventType.CANCELLED,
        StreamEventType.SUSPENDED,
    }
)
"""Exactly one of these comes directly before `done`."""

TOKENS = frozenset({StreamEventType.RESPONSE_DELTA, StreamEventType.AGENT_DELTA, StreamEventType.REASONING_DELTA})
"""Nearly all events of a run are of these types."""


class EventCategory(StrEnum):
    STATUS = "status"
    THOUGHT = "thought"
    PLANNING = "planning"
    OUTPUT = "output"
    STEP = "step"
    REASONING = "reasoning"
    RESPONSE = "response"
    ERROR = "error"


class UIHint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    component: str
    priority: Literal["low", "medium", "high"]
    collapsible: bool
    icon_hint: str | None = None


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a workflow emits. Category, hint, workflow id and time are added when it is encoded."""

    type: StreamEventType
    message: str | None = None
    delta: str | None = None
    reasoning: str | None = None
    agent_id: str | None = None
    author: str | None = None
    role: str | None = None
    kind: str | None = None
    error: str | None = None
    reasoning_partial: bool | None = None
    data: dict[str, Any] | None = None
    quality_score: float | None = None  # 0..10
    quality_flag: str | None = None


class Record(msgspec.Struct, frozen=True):
    """One encoded event in a run's log. `seq` starts at 1, rises by one, and is never reused."""

    seq: int
    body: bytes


MAX_EVENT = 256 * 1024
"""Bytes of an event; a longer one (a tool's result, say) is shortened, for every reader would hold it several times.
Not the answer and its tokens: clients rely on having all of it, and its model's bound on an answer is theirs."""
_WHOLE = TOKENS | {StreamEventType.RESPONSE_COMPLETED}
_SHORT = 4096  # bytes of a value that a shortened event keeps
_END = 12_000  # characters of a text at either end: at most six bytes each


def classify_event(type: StreamEventType, kind: str | None = None) -> tuple[EventCategory, UIHint]:
    """The category and the hint of an event, by a static table; unknown kinds get their type's default."""
    return _TABLE.get((type, kind)) or _TABLE.get((type, None)) or _DEFAULT


def encode_event(event: StreamEvent, *, workflow_id: str, at: int) -> bytes:
    """The full form. `at` is Unix time in milliseconds. Null fields are left out; the text is ASCII."""
    head = jsontext.encode(event)
    if len(head) > MAX_EVENT and event.type not in _WHOLE:
        head = jsontext.encode(_shortened(event, len(head)))
    return b'%s%s"workflow_id":"%s","timestamp":"%s"}' % (
        head[:-1],
        _tail(event.type, event.kind if event.kind in _KINDS else None),
        workflow_id.encode(),
        rfc3339(at).encode(),
    )


def _shortened(event: StreamEvent, size: int) -> StreamEvent:
    """The event with the ends of its texts, and of its data what is short; `data.cut` says how long it was."""
    data = {key: value for key, value in (event.data or {}).items() if len(jsontext.encode(value)) <= _SHORT}
    texts = {name: _ends(text) for name in ("message", "reasoning", "error") if (text := getattr(event, name))}
    return msgspec.structs.replace(event, **texts, data={**data, "cut": {"bytes": size}})


def _ends(text: str) -> str:
    return text if len(text) <= 2 * _END else f"{text[:_END]} [...] {text[-_END:]}"


def lean(body: bytes) -> bytes:
    """The form of `?fields=lean`. The mark cannot occur inside a JSON string: its quotes would be escaped there."""
    return body[: body.rfind(b',"category":')] + b"}"


def now() -> int:
    """Unix time in milliseconds: for people to read. Order is by `seq`, durations by the monotonic clock."""
    return time.time_ns() // 1_000_000


def rfc3339(at: int) -> str:
    seconds, milliseconds = divmod(at, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(2)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@cache
def _tail(type: StreamEventType, kind: str | None) -> bytes:
    category, hint = classify_event(type, kind)
    return b',"category":"%s","ui_hint":%s,' % (category.encode(), jsontext.encode(hint))


def _chat(priority: Literal["low", "medium", "high"], collapsible: bool, icon: str | None = None) -> UIHint:
    return UIHint(component="ChatStep", priority=priority, collapsible=collapsible, icon_hint=icon)


_STATUS, _STEP = EventCategory.STATUS, EventCategory.STEP
_DEFAULT = (_STATUS, _chat("low", True))
_BUBBLE = UIHint(component="MessageBubble", priority="high", collapsible=False)
_REASONING = (EventCategory.REASONING, UIHint(component="Reasoning", priority="medium", collapsible=True))
_TYPE, _THOUGHT = StreamEventType, StreamEventType.ORCHESTRATOR_THOUGHT
_TABLE: dict[tuple[StreamEventType, str | None], tuple[EventCategory, UIHint]] = {
    (_TYPE.CONNECTED, None): (_STATUS, _chat("low", False, "connected")),
    (_THOUGHT, "analysis"): (EventCategory.THOUGHT, _chat("medium", True, "analysis")),
    (_THOUGHT, "routing"): (EventCategory.PLANNING, _chat("high", True, "routing")),
    (_THOUGHT, "execution"): (_STATUS, _chat("low", True, "progress")),
    (_THOUGHT, "progress"): (_STATUS, _chat("low", True, "progress")),
    (_THOUGHT, "quality"): (EventCategory.OUTPUT, _chat("medium", True, "quality")),
    (_THOUGHT, "handoff"): (EventCategory.PLANNING, _chat("high", False, "handoff")),
    (_THOUGHT, None): (EventCategory.THOUGHT, _chat("medium", True)),
    (_TYPE.AGENT_START, None): (_STEP, _chat("low", True, "agent_start")),
    (_TYPE.AGENT_COMPLETE, None): (_STEP, _chat("low", True, "agent_complete")),
    (_TYPE.AGENT_MESSAGE, None): (
        EventCategory.OUTPUT,
        UIHint(component="MessageBubble", priority="medium", collapsible=False),
    ),
    (_TYPE.AGENT_OUTPUT, None): (EventCategory.OUTPUT, _BUBBLE),
    (_TYPE.AGENT_DELTA, None): (_STEP, _chat("low", True)),
    (_TYPE.TOOL_CALL, None): (_STEP, _chat("low", True, "tool")),
    (_TYPE.TOOL_RESULT, None): (_STEP, _chat("low", True, "tool")),
    (_TYPE.REASONING_DELTA, None): _REASONING,
    (_TYPE.REASONING_COMPLETED, None): _REASONING,
    (_TYPE.RESPONSE_DELTA, None): (EventCategory.RESPONSE, _BUBBLE),
    (_TYPE.RESPONSE_COMPLETED, None): (EventCategory.RESPONSE, _BUBBLE),
    (_TYPE.ERROR, None): (
        EventCategory.ERROR,
        UIHint(component="ErrorStep", priority="high", collapsible=False),
    ),
    (_TYPE.CANCELLED, None): (_STATUS, _chat("medium", False, "cancelled")),
    (_TYPE.SUSPENDED, None): (_STATUS, _chat("medium", False)),
    (_TYPE.HEARTBEAT, None): (_STATUS, _chat("low", True, "heartbeat")),
}
_KINDS = frozenset(kind for _, kind in _TABLE)

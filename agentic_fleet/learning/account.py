"""The account of one run: what its events tell about it, added up as they come or read from its log.

Everything in it has a bound, because a run may be long and what a model or a human says may be huge. Times are those of
the log (Unix milliseconds), so that an account read from the log is the one that was kept when the run was live; a
clock that was set back gives a duration of 0.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agentic_fleet import __version__, jsontext
from agentic_fleet.conversations import LOCAL, Message
from agentic_fleet.events import StreamEvent, StreamEventType, now, rfc3339
from agentic_fleet.turns import RunStatus
from agentic_fleet.workflows.history import both_ends

MOST = 200
"""Entries of each list (tool calls, agents' parts, answers of humans, ...): the first ones count."""
TASK = 10_000
ANSWER = 40_000
"""Characters of the task and of the answer: what a request may hold, and what an agent may write."""
CONTEXT = 8_000
"""Characters of the conversation before the task, its newest messages."""
WORDS = 1_000
"""Characters of anything else that was said."""

_TYPE = StreamEventType
_PHASES = frozenset({"analysis", "routing", "execution", "progress", "quality"})
_PLAN = ("complexity", "capabilities", "mode", "agents", "subtasks", "steps", "tools", "reason", "decided_by", "cached")
_TIMES = ("created_at", "started_at", "completed_at", "start_time", "end_time")
_ENDINGS: Final[Mapping[StreamEventType, RunStatus]] = {
    _TYPE.RESPONSE_COMPLETED: RunStatus.COMPLETED,
    _TYPE.ERROR: RunStatus.FAILED,
    _TYPE.CANCELLED: RunStatus.CANCELLED,
    _TYPE.SUSPENDED: RunStatus.SUSPENDED,
}


class Account:
    """Mutable, and one run's own. `tell` takes its events in order; `whole` is JSON."""

    def __init__(self, task: str, context: Mapping[str, Any]) -> None:
        """`context` as in ChatMiddleware.on_start; a run that is nobody's in particular needs no more than its id."""
        created_at = context.get("created_at")
        self.workflow_id = str(context.get("workflowId") or "")
        self.owner = str(context.get("caller") or LOCAL)
        self.conversation_id: str | None = context.get("conversation_id")
        self.created_at: int = created_at if isinstance(created_at, int) else now()
        self.status = RunStatus.RUNNING
        self.quality: dict[str, Any] = {}  # score, flag, by
        self.facts: dict[str, Any] = {
            "task": both_ends(task, TASK),
            "context": _context(context.get("history") or ()),
            "mode": str(context.get("mode") or "auto"),
            "lives": 0,
            "version": __version__,
        }
        if metadata := context.get("metadata"):
            self.facts["metadata"] = bounded(metadata)
        self._lists: dict[str, list[Any]] = {}
        self._usage = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
        self._models: dict[str, None] = {}  # an ordered set
        self._mark = self.created_at  # when the phase at hand began
        self._parts: dict[str, int] = {}  # agent -> when its part began
        self._calls: dict[str, tuple[int, dict[str, Any]]] = {}  # tool calls under way
        self._asked: dict[str, str] = {}  # open requests -> their type
        self._just_begun = False
        self._waiting_since: int | None = None
        self._waited = 0

    def tell(self, event: StreamEvent, at: int) -> None:
        if handler := _HANDLERS.get(event.type):
            if self._just_begun and event.kind != "response":  # brought back to ask everything again
                self._asked.clear()
                self._waiting_since = None
            self._just_begun = event.type is _TYPE.CONNECTED
            handler(self, event, at)

    def say(self, outcome: Mapping[str, Any]) -> None:
        """What came of it, from somebody who sends no events. It cannot be said to be another run or time."""
        kept = {"task", "workflow_id", "workflowId", "caller", "conversation_id", *_TIMES}
        self.facts.update({key: bounded(value, ANSWER) for key, value in outcome.items() if key not in kept})

    def end(self, status: RunStatus, error: str | None = None, at: int | None = None) -> None:
        self.status = status
        self.facts["completed_at"] = self.facts.get("completed_at") or at or now()
        if error:
            self.facts["error"] = both_ends(error, WORDS)

    @property
    def whole(self) -> dict[str, Any]:
        lists = {name: list(entries) for name, entries in self._lists.items()}
        waited = {"waited_ms": self._waited} if self._waited else {}
        used = {"usage": self._usage, "models": list(self._models)} if self._usage["calls"] else {}
        known = {
            "workflow_id": self.workflow_id,
            "workflowId": self.workflow_id,
            "caller": self.owner,
            "conversation_id": self.conversation_id,
            "created_at": self.created_at,
            "start_time": rfc3339(self.facts.get("started_at") or self.created_at),
            "status": self.status.value,
        }
        if completed_at := self.facts.get("completed_at"):
            known["end_time"] = rfc3339(completed_at)
        return {**known, **self.facts, **lists, **waited, **used, "quality": self.quality}

    def _add(self, name: str, entry: Any) -> None:
        entries = self._lists.setdefault(name, [])
        if len(entries) < MOST:
            entries.append(entry)

    def _begin(self, event: StreamEvent, at: int) -> None:
        """A life of the run. What was under way when the last one ended begins anew; what was asked may be open."""
        self.status = RunStatus.RUNNING
        self.facts["lives"] += 1
        self.facts.setdefault("started_at", at)
        for gone in ("completed_at", "error"):
            self.facts.pop(gone, None)
        self._mark = at
        self._parts.clear()
        self._calls.clear()
        self._waiting_since = at if self._asked else None

    def _think(self, event: StreamEvent, at: int) -> None:
        data = event.data or {}
        self._spend(data)
        if event.kind in _PHASES:
            entry = {"phase": event.kind, "round": data.get("round", 1), "ms": max(0, at - self._mark)}
            self._add("phases", entry)
            self._mark = at
        match event.kind:
            case "analysis" | "routing":
                plan = self.facts.setdefault("plan", {})
                plan.update({key: bounded(data[key], TASK) for key in _PLAN if key in data})
                self._version("planner", data)
            case "execution":
                agents, failed = data.get("agents") or [], data.get("failed") or {}
                if agents:
                    self.facts["routing"] = {"agents": bounded(agents)}
                if failed:
                    self._add("failures", bounded(failed))
            case "handoff":
                self._add("handoffs", bounded({key: data.get(key) for key in ("from", "to", "reason")}))
            case "progress":
                self._version("assessor", data)
            case "quality":
                self._add("assessments", bounded({key: value for key, value in data.items() if key != "usage"}))

    def _message(self, event: StreamEvent, at: int) -> None:
        data = event.data or {}
        match event.kind:
            case "request":
                self._waiting_since = self._waiting_since or at
                self._asked[data["request_id"]] = data.get("request_type", "")
            case "response":
                self._hear(data, at)
            case "refinement":
                self._add("refinements", bounded({"round": data.get("round"), "missing": data.get("missing")}))

    def _hear(self, data: Mapping[str, Any], at: int) -> None:
        """What a human answered. Waiting for people is not work: it is taken out of everything that is under way."""
        entry = {
            "request_id": data["request_id"],
            "request_type": self._asked.pop(data["request_id"], ""),
            "response": bounded(data.get("response")),
        }
        self._add("answers", entry)
        if self._waiting_since is not None and not self._asked:
            waited = max(0, at - self._waiting_since)
            self._waiting_since = None
            self._waited += waited
            self._mark += waited
            self._parts = {agent: began + waited for agent, began in self._parts.items()}

    def _start_part(self, event: StreamEvent, at: int) -> None:
        self._parts[event.agent_id or ""] = at

    def _end_part(self, event: StreamEvent, at: int) -> None:
        agent = event.agent_id or ""
        entry: dict[str, Any] = {"agent": agent, "ms": max(0, at - self._parts.pop(agent, at))}
        if usage := self._spend(event.data or {}):
            entry["usage"] = usage
        if event.error:
            entry["error"] = both_ends(event.error, WORDS)
        self._add("parts", entry)

    def _call(self, event: StreamEvent, at: int) -> None:
        data = event.data or {}
        entry = {"tool": data.get("tool"), "agent": event.agent_id}
        self._calls[str(data.get("call_id"))] = at, entry
        self._add("tools", entry)

    def _return(self, event: StreamEvent, at: int) -> None:
        began, entry = self._calls.pop(str((event.data or {}).get("call_id")), (at, {}))
        entry["ms"] = max(0, at - began)
        if event.error:
            entry["failed"] = True

    def _end(self, event: StreamEvent, at: int) -> None:
        status = RunStatus.INTERRUPTED if event.kind == RunStatus.INTERRUPTED else _ENDINGS[event.type]
        self.end(status, event.error, at)
        if event.type is _TYPE.RESPONSE_COMPLETED:
            self.facts["result"] = both_ends(event.message or "", ANSWER)
            self.facts["author"] = event.author
            self.quality = {"score": event.quality_score, "flag": event.quality_flag}
            if event.quality_score is not None:
                assessments = self._lists.get("assessments") or [{}]
                self.quality["by"] = "model" if assessments[-1].get("decided_by") == "model" else "rules"

    def _spend(self, data: Mapping[str, Any]) -> dict[str, Any]:
        usage = data.get("usage")
        if not isinstance(usage, dict):
            return {}
        self._models.update(dict.fromkeys(usage.get("models") or ()))
        for name in self._usage:
            self._usage[name] += usage.get(name) or 0
        return usage

    def _version(self, program: str, data: Mapping[str, Any]) -> None:
        if version := data.get("program"):
            self.facts.setdefault("programs", {})[program] = version


def bounded(value: Any, most: int = WORDS) -> Any:
    """JSON of about `most` characters: the value itself, or its text cut."""
    if isinstance(value, str):
        return both_ends(value, most)
    try:
        text = jsontext.encode(value)
    except (TypeError, ValueError, RecursionError):  # no JSON, or deeper than anybody reads
        return both_ends(str(value), most)
    return value if len(text) <= most else both_ends(text.decode(), most)


def _context(history: Sequence[Message]) -> list[dict[str, Any]]:
    """The newest messages that fit, oldest first."""
    kept: list[dict[str, Any]] = []
    room = CONTEXT
    for message in reversed(history[-MOST:]):
        said = both_ends(message.content, CONTEXT // 2)
        room -= len(said)
        if room < 0:
            break
        author = {"author": message.author} if message.author else {}
        kept.append({"role": message.role, "content": said, **author})
    return kept[::-1]


_HANDLERS: Mapping[StreamEventType, Callable[[Account, StreamEvent, int], None]] = {
    _TYPE.CONNECTED: Account._begin,
    _TYPE.ORCHESTRATOR_THOUGHT: Account._think,
    _TYPE.ORCHESTRATOR_MESSAGE: Account._message,
    _TYPE.AGENT_START: Account._start_part,
    _TYPE.AGENT_COMPLETE: Account._end_part,
    _TYPE.TOOL_CALL: Account._call,
    _TYPE.TOOL_RESULT: Account._return,
    **dict.fromkeys(_ENDINGS, Account._end),
}

"""The events of a run as the door reads them: what of each a model's client can use, and what the run came to.

Only the few fields that matter are decoded, and a token's text not even that: it goes on as the JSON that is stored.
"""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw, Struct

from agentic_fleet import jsontext
from agentic_fleet.events import Record
from agentic_fleet.runs.requests import REQUEST
from agentic_fleet.runs.status import INTERRUPTED
from agentic_fleet.turns import Usage
from agentic_fleet.web.door.refusals import NEVER, Refusal

ASKED = 400
"""Characters of what a human is asked that the door quotes."""

AGAIN = 5
"""Seconds after which another process may have taken the place of one that stopped."""

WAITS = "human_input_required"
"""The code of the refusal that a run waits for a human whom the door cannot ask."""


class Told(Struct, frozen=True):
    type: str
    delta: Raw = Raw()  # JSON text
    message: str = ""
    kind: str | None = None
    error: str = ""
    agent_id: str = ""
    data: Raw = Raw(b"{}")


@dataclass(frozen=True, slots=True)
class Answer:
    """The whole answer of a run."""

    text: str
    usage: Usage | None


Outcome = Answer | Refusal


class _Data(Struct, frozen=True):
    usage: Usage | None = None
    tool: str = ""
    request_id: str = ""
    request: Any = None


_told, _data = msgspec.json.Decoder(Told), msgspec.json.Decoder(_Data)


def read(record: Record) -> Told:
    return _told.decode(record.body)


def thought(told: Told) -> str | None:
    """A line about the team at work, if the event gives one."""
    match told.type:
        case "orchestrator.thought":
            return told.message
        case "agent.start":
            return f"{told.agent_id}: {told.message}"
        case "tool.call":
            return f"{told.agent_id} uses {_data.decode(told.data).tool}."
    return None


def outcome(told: Told, run_id: str) -> Outcome | None:
    """What the run has come to, as far as a client of the door can follow it; None when it goes on."""
    match told.type, told.kind:
        case "response.completed", _:
            return Answer(told.message, _data.decode(told.data).usage)
        case "error", kind if kind == INTERRUPTED:
            return Refusal(told.error, status=503, code="run_interrupted", headers={"Retry-After": str(AGAIN)})
        case "error", _:
            return Refusal(told.error, status=502, code="run_failed", headers=NEVER)
        case "cancelled", _:
            return Refusal(told.message, status=409, code="run_cancelled", headers=NEVER)
        case "suspended", _:
            return _waits(run_id, "The run is suspended", Raw(b"{}"))
        case "orchestrator.message", kind if kind == REQUEST:
            return _waits(run_id, told.message, told.data)
    return None


def _waits(run_id: str, title: str, data: Raw) -> Refusal:
    asked = _data.decode(data)
    quoted = jsontext.encode(asked.request).decode()[:ASKED] if asked.request else ""
    message = (
        f"{title}: {quoted or 'a human must answer'}. This cannot be answered here. The run goes on when somebody posts"
        f' {{"request_id": "{asked.request_id or "..."}", "response": ...}} to /api/v1/runs/{run_id}/responses.'
    )
    return Refusal(message, status=409, code=WAITS, headers=NEVER)

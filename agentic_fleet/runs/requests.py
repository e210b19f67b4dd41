"""Questions to humans, and their answers, as events: the log is where they are kept."""

from typing import Any

from agentic_fleet.errors import Conflict, NotFound
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import PendingRequest, RunState

REQUEST, RESPONSE = "request", "response"
"""The kinds of `orchestrator.message` that ask a human and echo the answer."""


def request_event(request: PendingRequest) -> StreamEvent:
    return StreamEvent(
        type=StreamEventType.ORCHESTRATOR_MESSAGE,
        kind=REQUEST,
        message=_title(request.request_type),
        agent_id="orchestrator",
        data={
            "request_id": request.request_id,
            "request_type": request.request_type,
            "request": request.request,
        },
    )


def response_event(request_id: str, response: Any) -> StreamEvent:
    return StreamEvent(
        type=StreamEventType.ORCHESTRATOR_MESSAGE,
        kind=RESPONSE,
        message="A human has answered.",
        agent_id="orchestrator",
        data={"request_id": request_id, "response": response},
    )


def check_open(state: RunState, request_id: str) -> None:
    """Conflict when the request has been answered, NotFound when it was never asked."""
    if request_id in state.answers:
        raise Conflict("This request has been answered.")
    if request_id not in {request.request_id for request in state.pending_requests}:
        raise NotFound("There is no such request.")


def _title(request_type: str) -> str:
    """The words that the original's clients know (WIRE.md section 2)."""
    name = request_type.lower()
    if "approval" in name:
        return "Tool approval required"
    if "user" in name and "input" in name:
        return "User input required"
    if "intervention" in name or "plan" in name:
        return "Human intervention required"
    return "Action required"

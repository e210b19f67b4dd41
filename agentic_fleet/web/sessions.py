"""Runs in the words of the original AgenticFleet: its workflow sessions. The same runs as under /api/v1/runs."""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import events
from agentic_fleet.turns import ReasoningEffort, RunState, RunStatus
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of

Status = Literal["created", "running", "completed", "failed", "cancelled"]

_STATUS: Mapping[RunStatus, Status] = {
    RunStatus.CREATED: "created",
    RunStatus.RUNNING: "running",
    RunStatus.WAITING: "running",
    RunStatus.SUSPENDED: "running",  # it goes on with its answer
    RunStatus.COMPLETED: "completed",
    RunStatus.FAILED: "failed",
    RunStatus.INTERRUPTED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


class SessionView(TypedDict):
    """What is not known is left out: the original's clients take no null."""

    workflow_id: str
    task: str
    status: Status
    created_at: str
    started_at: NotRequired[str]
    completed_at: NotRequired[str]
    reasoning_effort: NotRequired[ReasoningEffort]


async def list_sessions(request: Request) -> Response:
    page = wire.query(request, wire.PageQuery)
    found = await parts_of(request).runs.page(limit=page.limit, offset=page.offset)
    return views.reply([_session(state) for state in found])


async def show_session(request: Request) -> Response:
    run_id = wire.path_id(request, "workflow_id")
    wire.query(request, wire.NoQuery)
    return views.reply(_session(await parts_of(request).runs.state(run_id)))


async def cancel_session(request: Request) -> Response:
    """Answers when the run has ended. One that had ended before stays as it was."""
    run_id = wire.path_id(request, "workflow_id")
    wire.query(request, wire.NoQuery)
    await parts_of(request).runs.cancel(run_id)
    return Response(status_code=204)


def _session(state: RunState) -> SessionView:
    view: SessionView = {
        "workflow_id": state.run_id,
        "task": state.task,
        "status": _STATUS[state.status],
        "created_at": events.rfc3339(state.created_at),
    }
    if state.started_at is not None:
        view["started_at"] = events.rfc3339(state.started_at)
    if state.completed_at is not None and view["status"] != "running":
        view["completed_at"] = events.rfc3339(state.completed_at)
    if state.ask and state.ask.reasoning_effort:
        view["reasoning_effort"] = state.ask.reasoning_effort
    return view

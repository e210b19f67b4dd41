"""The history over HTTP: what the caller's runs did, forgetting it, and what people say of answers."""

from typing import Any, NotRequired, TypedDict, cast

from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import context, events
from agentic_fleet.executions import Execution, ScoredBy
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of


class RoutingView(TypedDict):
    """Who worked and how; what is not known is left out."""

    selected_agents: list[str]
    execution_mode: NotRequired[str]
    confidence: NotRequired[float]
    reasoning: NotRequired[str]
    decided_by: NotRequired[str]


class QualityView(TypedDict):
    score: NotRequired[float]  # 0..10; left out when there is none: the original's page would show a null as a word
    flag: str | None
    improvements: str | None
    by: ScoredBy | None


class ExecutionView(TypedDict):
    """The original's entry (HistoryExecutionEntry of its web UI). Beside it stands all else that is known of the run:
    result or error, plan, phases, parts, tools, answers, refinements, assessments, and what they took.
    """

    workflow_id: str
    workflowId: str
    conversation_id: str | None
    task: str
    status: str
    mode: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    latency: float | None  # seconds from the first start to the end, waiting for people included
    routing: RoutingView
    quality: QualityView
    feedback: dict[str, Any] | None
    metadata: dict[str, Any]


class FeedbackView(TypedDict):
    run_id: str
    quality_score: float | None
    quality_flag: str | None
    feedback: dict[str, Any]


_METADATA = ("version", "models", "programs", "usage", "metadata")
"""What the original's entry has in its `metadata`, as far as we know it."""


async def list_executions(request: Request) -> Response:
    page = wire.query(request, wire.PageQuery)
    store, caller = parts_of(request).store, context.caller.get()
    found = await store.executions(owner=caller, limit=page.limit, offset=page.offset)
    return views.reply([_execution(each) for each in found])


async def show_execution(request: Request) -> Response:
    workflow_id = wire.path_id(request, "workflow_id")
    wire.query(request, wire.NoQuery)
    found = await parts_of(request).store.execution(workflow_id, owner=context.caller.get())
    return views.reply(_execution(found))


async def drop_execution(request: Request) -> Response:
    """The run and its conversation stay."""
    workflow_id = wire.path_id(request, "workflow_id")
    wire.query(request, wire.NoQuery)
    await parts_of(request).learning.forget(workflow_id, owner=context.caller.get())
    return Response(status_code=204)


async def drop_executions(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    await parts_of(request).learning.forget_all(owner=context.caller.get())
    return Response(status_code=204)


async def give_feedback(request: Request) -> Response:
    """It may be given again: the last one counts."""
    run_id = wire.path_id(request, "run_id")
    wire.query(request, wire.NoQuery)
    feedback = (await wire.body(request, wire.FeedbackBody)).feedback()
    parts = parts_of(request)
    quality = await parts.learning.scores.give(await parts.runs.state(run_id), feedback)
    said = {"score": feedback.score, "thumb": feedback.thumb, "comment": feedback.comment}
    return views.reply(
        {"run_id": run_id, "quality_score": quality.score, "quality_flag": quality.flag, "feedback": said}
    )


def _execution(it: Execution) -> ExecutionView:
    account = dict(it.account)
    plan = account.get("plan") or {}
    metadata = {name: account.pop(name) for name in _METADATA if name in account}
    started, completed = account.get("started_at"), account.get("completed_at")
    missing = [each["missing"] for each in account.get("assessments") or () if each.get("missing")]
    routing = {
        "selected_agents": (account.get("routing") or plan).get("agents", []),
        "execution_mode": plan.get("mode"),
        "confidence": plan.get("confidence"),
        "reasoning": plan.get("reason"),
        "decided_by": plan.get("decided_by"),
    }
    quality = {
        **({} if it.quality.score is None else {"score": it.quality.score}),
        "flag": it.quality.flag,
        "improvements": missing[-1] if missing else None,
        "by": it.quality.by,
    }
    known = {
        "workflow_id": it.workflow_id,
        "workflowId": it.workflow_id,
        "conversation_id": it.conversation_id,
        "created_at": _time(it.created_at),
        "started_at": _time(started),
        "completed_at": _time(completed),
        "latency": (completed - started) / 1000 if started and completed else None,
        "routing": {name: value for name, value in routing.items() if value is not None},
        "quality": quality,
        "feedback": it.feedback,
        "metadata": metadata,
    }
    return cast(ExecutionView, {**account, **known})


def _time(at: int | None) -> str | None:
    return None if at is None else events.rfc3339(at)

"""Optimisation jobs over HTTP, in the words of the original's dashboard.

Its clients name a file of examples and a user: both are taken and neither is believed. A path is never opened, and
whose job it is follows from the key.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import context, events
from agentic_fleet.errors import Draining, Invalid
from agentic_fleet.learning.compile import Auto, Optimizer
from agentic_fleet.learning.jobs import OPEN, Job, Status
from agentic_fleet.learning.orders import MODULES, Order
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of

_OPTIMIZERS: dict[str, Optimizer] = {"bootstrap": "bootstrap", "mipro": "mipro", "miprov2": "mipro", "gepa": "gepa"}
_Text = Annotated[str, Meta(max_length=1000)]


class OptimizationBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/v1/optimization/jobs. `examples_path` is not read. Of `options`, `optimizer` (bootstrap, mipro, gepa;
    without it `auto_mode` chooses), `seed`, `max_iterations`, `min_quality`, `max_examples` and `stats_only` count."""

    module_name: _Text = "all"
    auto_mode: Auto = "light"
    examples_path: _Text | None = None
    user_id: _Text | None = None
    use_history_examples: bool = True
    history_min_quality: Annotated[float, Meta(ge=0, le=10)] = 8.0
    history_limit: Annotated[int, Meta(ge=1, le=10_000)] = 200
    options: dict[str, Any] = {}

    def order(self) -> Order:
        """Raises Invalid."""
        if self.module_name not in MODULES:
            raise _invalid("module_name", f"must be one of {', '.join(MODULES)}")
        quality = self.options.get("min_quality", self.history_min_quality)
        return Order(
            parts=MODULES[self.module_name],
            auto=self.auto_mode,
            optimizer=self._optimizer(),
            seed=_whole("seed", self.options.get("seed"), 0, 2**31 - 1) or 0,
            most=_whole("max_iterations", self.options.get("max_iterations"), 1, 1000),
            history=self.use_history_examples,
            min_quality=_number("min_quality", quality, 0, 10),
            limit=_whole("max_examples", self.options.get("max_examples"), 1, 10_000) or self.history_limit,
            only_count=_flag("stats_only", self.options.get("stats_only")),
            caller=context.caller.get(),
        )

    def _optimizer(self) -> Optimizer | None:
        given = self.options.get("optimizer")
        if given is None:
            return None
        if not isinstance(given, str) or given.lower() not in _OPTIMIZERS:
            raise _invalid("options.optimizer", f"must be one of {', '.join(_OPTIMIZERS)}")
        return _OPTIMIZERS[given.lower()]


class DetailsView(TypedDict):
    """`metrics` are those of the new program on the held-out examples, and `before` those of the one it was to replace.
    `examples` says where they came from."""

    module_name: str
    outcome: NotRequired[Literal["adopted", "kept", "saved", "counted"]]
    note: NotRequired[str]
    optimizer: NotRequired[str]
    model: NotRequired[str]
    program_version: NotRequired[str | None]
    parent: NotRequired[str]
    score_before: NotRequired[float | None]
    score_after: NotRequired[float | None]
    metrics: NotRequired[dict[str, Any]]
    before: NotRequired[dict[str, Any]]
    validation: NotRequired[dict[str, Any]]
    examples: NotRequired[dict[str, int]]
    config: dict[str, Any]


class JobView(TypedDict):
    """The original's OptimizationResult. `status` may also be `cancelled`."""

    job_id: str
    user_id: str | None
    status: Status
    created_at: str
    started_at: str | None
    completed_at: str | None
    error: str | None
    message: str
    result_artifact: str | None  # the version that it made: /api/v1/dspy/programs has it
    cache_path: None  # where files lie is no client's business
    progress: float  # 0..1
    progress_message: str
    progress_updated_at: str
    progress_current: NotRequired[int]  # steps; left out while nobody knows how many
    progress_total: NotRequired[int]
    progress_percent: int
    progress_completed: bool
    progress_duration: NotRequired[float]  # seconds, since it has begun
    details: DetailsView


async def start_job(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    body = await wire.body(request, OptimizationBody)
    order, parts = body.order(), parts_of(request)
    if parts.runs.draining:
        raise Draining("The service is shutting down.")
    job = parts.tuning.jobs.start(order, owner=context.caller.get(), module=body.module_name, user_id=body.user_id)
    return views.reply(_job(job), 202, {"Location": f"/api/v1/optimization/jobs/{job.id}"})


async def list_jobs(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    return views.reply([_job(job) for job in parts_of(request).tuning.jobs.all(owner=context.caller.get())])


async def show_job(request: Request) -> Response:
    job_id = wire.path_id(request, "job_id")
    wire.query(request, wire.NoQuery)
    return views.reply(_job(parts_of(request).tuning.jobs.get(job_id, owner=context.caller.get())))


async def cancel_job(request: Request) -> Response:
    job_id = wire.path_id(request, "job_id")
    wire.query(request, wire.NoQuery)
    return views.reply(_job(await parts_of(request).tuning.jobs.cancel(job_id, owner=context.caller.get())))


def _job(job: Job) -> JobView:
    ended = job.status not in OPEN
    share = 1.0 if job.status == "completed" else job.done / job.of if job.of else 0.0
    until = job.ended_at or events.now()
    told: JobView = {
        "job_id": job.id,
        "user_id": job.user_id,
        "status": job.status,
        "created_at": events.rfc3339(job.created_at),
        "started_at": _time(job.started_at),
        "completed_at": _time(job.ended_at),
        "error": job.error,
        "message": job.message,
        "result_artifact": job.outcome.version if job.outcome else None,
        "cache_path": None,
        "progress": round(share, 4),
        "progress_message": job.error or job.message,
        "progress_updated_at": events.rfc3339(job.told_at),
        "progress_percent": int(share * 100),
        "progress_completed": ended,
        "details": _details(job),
    }
    if job.of:
        told["progress_current"], told["progress_total"] = job.done, job.of
    if job.started_at:
        told["progress_duration"] = (until - job.started_at) / 1000
    return told


def _details(job: Job) -> DetailsView:
    config = {"auto_mode": job.order.auto, "seed": job.order.seed, "max_iterations": job.order.most}
    told: DetailsView = {"module_name": job.module, "config": config}
    if not (outcome := job.outcome):
        return told
    saved: Literal["saved", "kept"] = "saved" if outcome.version else "kept"
    return {
        **told,
        "outcome": "counted" if job.order.only_count else "adopted" if job.adopted else saved,
        "note": outcome.note,
        "optimizer": outcome.optimizer,
        "model": outcome.model,
        "program_version": outcome.version,
        "parent": outcome.parent,
        "score_before": _score(outcome.before),
        "score_after": _score(outcome.after),
        "metrics": outcome.after,
        "before": outcome.before,
        "validation": outcome.validation,
        "examples": outcome.examples,
    }


def _score(figures: dict[str, Any]) -> float | None:
    """The planner's, or else the assessor's."""
    for part in ("planner", "assessor"):
        if part in figures:
            return float(figures[part]["score"])
    return None


def _whole(name: str, value: object, low: int, high: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _invalid(f"options.{name}", f"must be a whole number from {low} to {high}")
    return value


def _flag(name: str, value: object) -> bool:
    if value is not None and not isinstance(value, bool):
        raise _invalid(f"options.{name}", "must be true or false")
    return bool(value)


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _invalid(f"options.{name}", f"must be a number from {low:g} to {high:g}")
    return float(value)


def _invalid(field: str, problem: str) -> Invalid:
    return Invalid(f"{field}: {problem}", [(field, problem)])


def _time(at: int | None) -> str | None:
    return None if at is None else events.rfc3339(at)

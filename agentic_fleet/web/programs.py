"""The decision programs over HTTP: what they are, which are in force, and their caches. The original's dashboard reads
them."""

from typing import Any, TypedDict

from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import context, events
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of
from agentic_fleet.workflows.saved import PACKAGED, Saved


class PromptFieldView(TypedDict):
    name: str
    desc: str
    prefix: str


class PromptView(TypedDict):
    """`system` is the whole text that a model is sent before the examples. `in_use`: a model is asked at all."""

    instructions: str
    system: str
    inputs: list[PromptFieldView]
    outputs: list[PromptFieldView]
    demos_count: int
    demos: list[dict[str, str]]
    in_use: bool


class SignatureView(TypedDict):
    name: str
    type: str
    instructions: str
    input_fields: list[str]
    output_fields: list[str]
    hash: str


class ConfigView(TypedDict):
    lm_provider: str
    adapter: str
    planner: str  # who plans: model, classifier or rules
    assessor: str
    program_version: str
    classifier: dict[str, Any] | None


class StatsView(TypedDict):
    history_count: int  # executions of the caller's that are kept


class CacheView(TypedDict):
    """Of the optimised programs. Times and optimizer are those of the one in force, if it is one of them."""

    exists: bool
    created_at: str | None
    cache_size_bytes: int
    optimizer: str | None
    signature_hash: str


class ReasonerView(TypedDict):
    history_count: int
    routing_cache_size: int  # plans kept for equal questions
    use_typed_signatures: bool
    modules_initialized: bool


class ProgramView(TypedDict):
    program_version: str
    in_force: bool
    parent: str | None
    created_at: str | None
    optimizer: str | None
    seed: int | None
    model: str | None
    examples: int | None
    data_hash: str | None
    before: dict[str, Any]
    after: dict[str, Any]
    changes: list[str]  # of planner, assessor, classifier


async def show_prompts(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    return views.reply(await parts_of(request).tuning.programs.prompts(context.caller.get()))


async def show_signatures(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    return views.reply(await parts_of(request).tuning.programs.signatures())


async def show_config(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    return views.reply(await parts_of(request).tuning.programs.config())


async def show_stats(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    count = await parts_of(request).store.count_executions(owner=context.caller.get())
    return views.reply({"history_count": count})


async def show_cache(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    told = await parts_of(request).tuning.programs.cache()
    made = told["created_at"]
    return views.reply({**told, "created_at": None if made is None else events.rfc3339(made)})


async def clear_cache(request: Request) -> Response:
    """Every optimised program is deleted: the next run uses the packaged ones."""
    wire.query(request, wire.NoQuery)
    await parts_of(request).tuning.programs.clear()
    return Response(status_code=204)


async def show_reasoner(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    parts = parts_of(request)
    summary: ReasonerView = {
        "history_count": await parts.store.count_executions(owner=context.caller.get()),
        "routing_cache_size": parts.tuning.programs.plans_kept,
        "use_typed_signatures": True,
        "modules_initialized": True,
    }
    return views.reply(summary)


async def clear_plans(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    parts_of(request).tuning.programs.forget_plans()
    return Response(status_code=204)


async def list_programs(request: Request) -> Response:
    """The packaged one stands last."""
    wire.query(request, wire.NoQuery)
    current, kept = await parts_of(request).tuning.programs.versions()
    return views.reply([*(_program(saved, current) for saved in kept), _packaged(current)])


async def adopt_program(request: Request) -> Response:
    """Roll back to an earlier one, or forward again: from the next run on."""
    version = wire.path_id(request, "program_version")
    wire.query(request, wire.NoQuery)
    programs = parts_of(request).tuning.programs
    current = await programs.adopt(version)
    if version == PACKAGED:
        return views.reply(_packaged(current))
    _, kept = await programs.versions()
    return views.reply(next(_program(saved, current) for saved in kept if saved.id == version))


def _program(saved: Saved, current: str) -> ProgramView:
    parts = {"planner": saved.planner, "assessor": saved.assessor, "classifier": saved.classifier}
    return {
        "program_version": saved.id,
        "in_force": saved.id == current,
        "parent": saved.parent,
        "created_at": events.rfc3339(saved.created_at),
        "optimizer": saved.optimizer,
        "seed": saved.seed,
        "model": saved.model,
        "examples": saved.examples,
        "data_hash": saved.data,
        "before": dict(saved.before),
        "after": dict(saved.after),
        "changes": [name for name, part in parts.items() if part is not None],
    }


def _packaged(current: str) -> ProgramView:
    return {
        "program_version": PACKAGED,
        "in_force": current == PACKAGED,
        "parent": None,
        "created_at": None,
        "optimizer": None,
        "seed": None,
        "model": None,
        "examples": None,
        "data_hash": None,
        "before": {},
        "after": {},
        "changes": [],
    }

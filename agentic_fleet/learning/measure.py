"""Decisions measured on labelled examples: exact figures, by the same way that a run decides."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from agentic_fleet.errors import ModelFailed
from agentic_fleet.learning.counting import Counting
from agentic_fleet.learning.grades import Grade, Judgement, grade_assessment, grade_plan
from agentic_fleet.turns import Ask
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.plans import Plan
from agentic_fleet.workflows.tasks import Task

AT_ONCE = 4
"""Decisions under way at the same time, when a model makes them."""
DIGITS = 4
"""Of a share that is told; more would pretend."""

Tick = Callable[[], None]
"""Called for each example that is through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One task, what was planned for it, what that is worth, and how long it took."""

    task: Task
    plan: Plan
    grade: Grade
    seconds: float


async def measure_plans(
    decisions: Decisions, tasks: Sequence[Task], *, counting: Counting | None = None, tick: Tick = lambda: None
) -> list[Planned]:
    """In the order of the tasks. With `counting` (the model that is asked) a failure of it raises ModelFailed: figures
    of a model that was not there would be those of the rules that stand in for it."""
    planned: dict[int, Planned] = {}

    async def plan(at: int, task: Task) -> None:
        async with limit:
            begin = time.perf_counter()
            made = await decisions.plan(Ask(message=task.task))
            seconds = time.perf_counter() - begin
            _raise_failure(counting)
        planned[at] = Planned(task=task, plan=made, grade=grade_plan(made, task), seconds=seconds)
        tick()

    limit = anyio.Semaphore(AT_ONCE if counting else 1)
    async with anyio.create_task_group() as group:
        for at, task in enumerate(tasks):
            group.start_soon(plan, at, task)
    return [planned[at] for at in range(len(tasks))]


async def measure_assessments(
    decisions: Decisions, judgements: Sequence[Judgement], *, counting: Counting, tick: Tick = lambda: None
) -> dict[str, Any]:
    """Figures over the judgements, all 0..1. Raises ModelFailed."""
    grades: list[Grade] = []

    async def judge(wanted: Judgement) -> None:
        async with limit:
            grades.append(grade_assessment(await decisions.assess(wanted.task, wanted.answer), wanted))
            _raise_failure(counting)
        tick()

    limit = anyio.Semaphore(AT_ONCE)
    async with anyio.create_task_group() as group:
        for wanted in judgements:
            group.start_soon(judge, wanted)
    return {"answers": len(grades), **shares(grades), "score": score(grades)}


def figures(planned: Sequence[Planned], counting: Counting | None = None) -> dict[str, Any]:
    """Shares are 0..1; calls and tokens are per task, None when the model did not tell them; times are milliseconds."""
    grades = [each.grade for each in planned]
    times = sorted(each.seconds * 1000 for each in planned)
    per_task = {name: _per(len(planned), getattr(counting, name) if counting else 0) for name in _COSTS}
    return {
        "tasks": len(planned),
        **shares(grades),
        "score": score(grades),
        "latency_ms": {"median": round(statistics.median(times), 1), "p95": round(times[int(len(times) * 0.95)], 1)},
        **per_task,
        "decided_by": dict(sorted(Counter(each.plan.decided_by for each in planned).items())),
    }


def shares(grades: Sequence[Grade]) -> dict[str, float]:
    """How often each question was answered right."""
    questions = list(grades[0].right) if grades else []
    return {question: _share([grade.right[question] for grade in grades]) for question in questions}


def score(grades: Sequence[Grade]) -> float:
    return _share([grade.score for grade in grades])


_COSTS = ("calls", "prompt_tokens", "completion_tokens")


def _share(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), DIGITS)


def _per(count: int, total: int | None) -> float | None:
    return None if total is None else round(total / max(1, count), 2)


def _raise_failure(counting: Counting | None) -> None:
    if counting and counting.failure:
        raise ModelFailed(f"The model failed while it was measured: {counting.failure}")

"""How good a decision is, as a number and in words: it reads what was decided, field by field.

The same grade chooses between programs, measures them, and tells an optimiser that reads feedback what to change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.decisions import checked_assessment, checked_plan
from agentic_fleet.workflows.plans import Assessment, Plan, Verdict
from agentic_fleet.workflows.tasks import Task

# What a plan's parts are worth; they add up to 1.
_TEAM, _OVERLAP, _MODE, _SOUND = 0.4, 0.2, 0.3, 0.1
# The same for an assessment's.
_VERDICT, _SCORE, _MISSING = 0.5, 0.4, 0.1


class Judgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer with what a sound judge says of it: the verdict, and a score between `low` and `high` (0..10)."""

    task: str
    answer: str
    verdict: Verdict
    low: Annotated[float, msgspec.Meta(ge=0, le=10)]
    high: Annotated[float, msgspec.Meta(ge=0, le=10)]
    held_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """`right` are single questions that were answered right or wrong; `feedback` says what was wrong, and how it ought
    to be."""

    score: float  # 0..1
    right: dict[str, bool]
    feedback: str


NOTHING = Grade(score=0.0, right={}, feedback="The answer was no usable JSON object of the form that was asked for.")


def grade_plan(plan: Plan, task: Task) -> Grade:
    """Agents count as a set; the first of them leads."""
    wanted, given = set(task.agents), set(plan.agents)
    right = {
        "routing": wanted == given,
        "lead": plan.agents[0] == task.agents[0],
        "mode": plan.mode == task.mode,
        "complexity": plan.complexity == task.complexity,
        "valid": plan.decided_by != "fallback",
    }
    said = [f"The agents are right: {_words(task.agents)}."]
    if not right["routing"]:
        said = [f"Wrong agents: {_words(plan.agents)} instead of {_words(task.agents)}."]
        said += [f"{name} is missing." for name in task.agents if name not in given]
        said += [f"{name} is not needed." for name in plan.agents if name not in wanted]
    elif plan.mode == "sequential" and plan.agents != task.agents:
        said.append(f"But they work in the wrong order; it is {_words(task.agents)}.")
    if not right["mode"]:
        said.append(f"Wrong mode: {plan.mode} instead of {task.mode}.")
    parts = _parts_fault(plan)
    overlap = 2 * len(wanted & given) / (len(wanted) + len(given))
    score = _TEAM * right["routing"] + _OVERLAP * overlap + _MODE * right["mode"] + _SOUND * (not parts)
    return Grade(score=score if right["valid"] else 0.0, right=right, feedback=" ".join([*said, *parts]))


def grade_said_plan(said: Any, task: Task, roster: Roster) -> Grade:
    """The grade of what a planning program has said, before anything in it is put right."""
    try:
        plan = checked_plan(said, roster)
    except (ValueError, TypeError):
        return Grade(score=0.0, right={}, feedback=f"It names no agent of the team; it is {_words(task.agents)}.")
    grade = grade_plan(plan, task)
    if said.mode == plan.mode:
        return grade
    told = f"{grade.feedback} The mode {said.mode!r} does not fit so many agents; it is {task.mode}."
    return Grade(score=max(0.0, grade.score - _SOUND), right=grade.right, feedback=told)


def grade_assessment(made: Assessment, wanted: Judgement) -> Grade:
    """The score may be anywhere in its band, and costs more the further off it is."""
    off = max(wanted.low - made.score, made.score - wanted.high, 0.0)
    needs = wanted.verdict != "complete"
    right = {
        "verdict": made.verdict == wanted.verdict,
        "score": off == 0,
        "missing": bool(made.missing) is needs,
        "valid": made.decided_by == "model",
    }
    said = []
    if not right["verdict"]:
        said.append(f"Wrong verdict: {made.verdict} instead of {wanted.verdict}.")
    if off:
        way = "low" if made.score < wanted.low else "high"
        said.append(f"The score {made.score:g} is too {way}: it is {wanted.low:g} to {wanted.high:g}.")
    if not right["missing"]:
        said.append("It does not say what is missing." if needs else "Nothing is missing, but it says so.")
    score = _VERDICT * right["verdict"] + _SCORE * max(0.0, 1 - off / 5) + _MISSING * right["missing"]
    return Grade(score=score, right=right, feedback=" ".join(said) or "The judgement is right.")


def grade_said_assessment(said: Any, wanted: Judgement) -> Grade:
    try:
        return grade_assessment(checked_assessment(said), wanted)
    except (ValueError, TypeError):
        return Grade(score=0.0, right={}, feedback="It gives no score.")


def _parts_fault(plan: Plan) -> list[str]:
    """Several agents need parts of their own, when a model has given them any say in that."""
    if plan.decided_by != "model" or len(plan.agents) < 2:
        return []
    parts = [plan.subtasks.get(name, "") for name in plan.agents]
    if not all(parts):
        return ["Not every agent was told its part of the task."]
    return ["Two agents were told the same part."] if len(set(parts)) < len(parts) else []


def _words(agents: Sequence[str]) -> str:
    return ", ".join(agents)

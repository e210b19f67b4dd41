"""Grades: typed outputs decide, agents are a set, and the feedback says what was wrong in words."""

from typing import Any

import dspy
import pytest

from agentic_fleet.learning.grades import (
    Judgement,
    grade_assessment,
    grade_plan,
    grade_said_assessment,
    grade_said_plan,
)
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.plans import Assessment, Plan
from agentic_fleet.workflows.tasks import Task

TASK = Task(task="t", complexity="complex", mode="sequential", agents=("researcher", "writer"))
PARTS = {"researcher": "Find it.", "writer": "Write it."}


def plan(mode: Any = "sequential", *agents: str, parts: dict[str, str] | None = None, by: Any = "model") -> Plan:
    team = agents or ("researcher", "writer")
    alone = mode in ("fast", "delegated")
    return Plan(
        complexity="simple" if alone else "complex",
        mode=mode,
        agents=team,
        subtasks=PARTS if parts is None else parts,
        reason="r",
        decided_by=by,
    )


def test_a_right_plan_gets_everything() -> None:
    grade = grade_plan(plan(), TASK)
    assert grade.score == pytest.approx(1)
    assert all(grade.right.values())
    assert grade.feedback == "The agents are right: researcher, writer."


def test_agents_count_as_a_set_but_the_order_is_told() -> None:
    grade = grade_plan(plan("sequential", "writer", "researcher"), TASK)
    assert grade.score == pytest.approx(1)
    assert (grade.right["routing"], grade.right["lead"]) == (True, False)
    assert "wrong order" in grade.feedback


@pytest.mark.parametrize(
    ("made", "score", "words"),
    [
        (plan("parallel"), 0.7, "Wrong mode: parallel instead of sequential."),
        (
            plan("sequential", "researcher", "coder", parts={"researcher": "A.", "coder": "B."}),
            0.5,
            "writer is missing. coder is not needed.",
        ),
        (plan("delegated", "coder"), 0.1, "Wrong agents: coder instead of researcher, writer."),
        (plan(parts={"researcher": "Find it."}), 0.9, "Not every agent was told its part"),
        (plan(parts={"researcher": "Do it.", "writer": "Do it."}), 0.9, "Two agents were told the same part."),
        (plan(parts={}, by="classifier"), 1.0, "The agents are right"),
        (plan(by="fallback"), 0.0, "The agents are right"),
    ],
)
def test_each_fault_costs_and_is_named(made: Plan, score: float, words: str) -> None:
    grade = grade_plan(made, TASK)
    assert grade.score == pytest.approx(score)
    assert words in grade.feedback


def test_what_a_program_said_is_graded_before_it_is_put_right() -> None:
    roster = load_roster()
    said = dspy.Prediction(
        complexity="complex", mode="sequential", agent_1="researcher", part_1="A.", agent_2="writer", part_2="B."
    )
    assert grade_said_plan(said, TASK, roster).score == pytest.approx(1)
    said.mode = "handstand"
    assert "handstand" in grade_said_plan(said, TASK, roster).feedback
    assert grade_said_plan(said, TASK, roster).score < 1
    assert grade_said_plan(dspy.Prediction(mode="fast", agent_1="stranger"), TASK, roster).score == 0


JUDGEMENT = Judgement(task="t", answer="a", verdict="refine", low=2, high=4)


@pytest.mark.parametrize(
    ("verdict", "points", "missing", "score", "words"),
    [
        ("refine", 3, "Half.", 1.0, "The judgement is right."),
        ("complete", 3, "Half.", 0.5, "Wrong verdict: complete instead of refine."),
        ("refine", 6.5, "Half.", 0.8, "The score 6.5 is too high: it is 2 to 4."),
        ("refine", 0, "Half.", 0.84, "too low"),
        ("refine", 3, "", 0.9, "It does not say what is missing."),
        ("complete", 10, "", 0.0, "Wrong verdict"),
    ],
)
def test_an_assessment_is_graded_by_verdict_band_and_reason(
    verdict: Any, points: float, missing: str, score: float, words: str
) -> None:
    made = Assessment(verdict=verdict, score=points, missing=missing, decided_by="model")
    grade = grade_assessment(made, JUDGEMENT)
    assert grade.score == pytest.approx(score)
    assert words in grade.feedback
    said = dspy.Prediction(verdict=verdict, score=points, missing=missing)
    assert grade_said_assessment(said, JUDGEMENT).score == pytest.approx(score)


def test_an_assessment_without_a_score_is_worth_nothing() -> None:
    assert grade_said_assessment(dspy.Prediction(verdict="refine", score=None, missing=""), JUDGEMENT).score == 0

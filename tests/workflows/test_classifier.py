"""The classifier and its tasks: the labels follow their rule, and the plans are sound and better than chance."""

from collections import Counter
from pathlib import Path

import pytest

from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.classifier import Classifier
from agentic_fleet.workflows.plans import ALONE, WORKS
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.workflows.team import TASK, roster_file

TASKS = labelled_tasks()


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_roster())


def test_the_labels_follow_their_rule() -> None:
    assert len(TASKS) >= 180
    assert len({task.task for task in TASKS}) == len(TASKS)
    for task in TASKS:
        assert set(task.agents) <= set(load_roster())
        assert len(task.agents) == len(set(task.agents))
        assert (len(task.agents) == 1) is (task.mode in ALONE) is (task.complexity == "simple"), task
        assert len(task.agents) <= 3
        assert not task.subtasks or len(task.subtasks) == len(task.agents)


def test_a_fifth_of_the_tasks_is_held_out_balanced_over_leads_and_modes() -> None:
    held_out = [task for task in TASKS if task.held_out]
    assert len(held_out) * 5 == len(TASKS)
    assert set(Counter((task.agents[0], task.mode) for task in held_out).values()) == {2}
    assert {task.mode for task in TASKS} == set(WORKS)
    assert not any(task.subtasks for task in held_out)  # they may not become demonstrations


def test_it_does_far_better_than_chance_on_tasks_it_has_never_seen(classifier: Classifier) -> None:
    score = classifier.score
    assert score.tasks == 48
    assert score.lead >= 0.7  # chance: 0.17
    assert score.mode >= 0.75  # chance: 0.25
    assert score.complexity >= 0.85
    assert score.agents >= 0.6


@pytest.mark.parametrize("task", [TASK, "", "?", "x" * 10_000, "\ud83d lone", "做一个计划", "1 2 3", '"' * 50])
def test_any_text_gets_a_sound_plan(classifier: Classifier, task: str) -> None:
    plan = classifier.plan(task)
    assert plan.mode in WORKS
    assert (len(plan.agents) == 1) is (plan.mode in ALONE)
    assert len(plan.agents) <= 3
    assert len(set(plan.agents)) == len(plan.agents)
    assert set(plan.agents) <= set(load_roster())
    assert plan.decided_by == "classifier"


def test_a_plan_says_what_it_calls_for(classifier: Classifier) -> None:
    plan = classifier.plan("Write a Python function that reverses a list and then review it for mistakes.")
    assert (plan.mode, plan.agents, plan.complexity) == ("sequential", ("coder", "reviewer"), "complex")
    assert "programming and review" in plan.reason


SMALLER = """
[workflow]
fast_agent = "coder"
synthesis_agent = "coder"
"""
AGENT = """
[agents.{name}]
description = "d"
instructions = "i"
skill = "s"
"""


def test_it_only_names_agents_of_the_roster(tmp_path: Path) -> None:
    text = SMALLER + AGENT.format(name="coder") + AGENT.format(name="writer") + AGENT.format(name="guest")
    classifier = Classifier(load_roster(roster_file(tmp_path, text)))
    assert {agent for task in TASKS for agent in classifier.plan(task.task).agents} == {"coder", "writer"}


def test_a_roster_of_strangers_cannot_be_classified_for(tmp_path: Path) -> None:
    text = SMALLER + AGENT.format(name="coder") + AGENT.format(name="guest")
    with pytest.raises(ValueError, match="fewer than two"):
        Classifier(load_roster(roster_file(tmp_path, text)))

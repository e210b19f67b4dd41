"""Decisions without a model: what plain rules see in a task, an answer and a human's words."""

import pytest

from agentic_fleet.turns import Ask
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.changes import named_mode, obeyed
from agentic_fleet.workflows.cues import cue_plan, expected_tools, simple_plan
from agentic_fleet.workflows.decisions import Decisions, in_turn
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.plans import ALONE
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.workflows.team import GOOD_ANSWER, TASK


@pytest.mark.parametrize("message", ["hi", "Thank you!", "Guten Morgen", "hello there", "What is the capital of Peru?"])
async def test_a_simple_message_is_fast_without_a_model(message: str) -> None:
    made = await Decisions(load_roster()).plan(Ask(message=message))
    assert (made.mode, made.agents, made.decided_by) == ("fast", ("researcher",), "rule")


@pytest.mark.parametrize(
    "message", [TASK, "hi, please write a novel about a whale and his captain", "Write a poem?", "hi, write a haiku"]
)
def test_work_is_not_mistaken_for_a_simple_message(message: str) -> None:
    assert simple_plan(message, load_roster()) is None


def test_of_the_labelled_tasks_hardly_any_that_looks_simple_needs_more() -> None:
    simple = [task for task in labelled_tasks() if simple_plan(task.task, load_roster())]
    assert len(simple) >= 10
    assert sum(task.mode == "fast" for task in simple) / len(simple) >= 0.9
    assert not [task for task in simple if task.mode not in ALONE]


@pytest.mark.parametrize(
    ("message", "mode", "agents"),
    [
        ("Draft a letter", "delegated", ("writer",)),
        ("Draft a letter and then proofread it", "sequential", ("writer", "reviewer")),
        ("A poem and, separately, a checklist", "parallel", ("writer", "planner")),
        ("Mow the lawn", "delegated", ("researcher",)),
        ('Check this: "write code and calculate the plan"', "delegated", ("reviewer",)),
    ],
)
def test_cues_alone_make_a_sound_plan(message: str, mode: str, agents: tuple[str, ...]) -> None:
    made = cue_plan(message, load_roster())
    assert (made.mode, made.agents, made.decided_by) == (mode, agents, "rule")


@pytest.mark.parametrize(
    ("answer", "cut", "verdict", "score"),
    [
        (GOOD_ANSWER, False, "complete", 8),
        ("", False, "refine", 0),
        (GOOD_ANSWER, True, "continue", 5),
        ("I'm sorry, but I can't help with that.", False, "refine", 3),
        (TASK, False, "refine", 3),
        ("the sea the sea the sea " * 30, False, "refine", 2),
        (" ".join(f"tides{n}" for n in range(60)) + " and", False, "continue", 5),
        (" ".join(f"quartz{n}" for n in range(60)) + ".", False, "refine", 6),
    ],
)
def test_rules_see_the_plain_faults(answer: str, cut: bool, verdict: str, score: float) -> None:
    made = assess_by_rules(TASK, answer, cut=cut)
    assert (made.verdict, made.score, made.decided_by) == (verdict, score, "rules")
    assert bool(made.missing) is (verdict != "complete")


@pytest.mark.parametrize(
    ("task", "tools"),
    [
        ("What is 17 * 4?", ("calculate",)),
        ("Read https://example.org and tell me", ("fetch_url",)),
        ("What happens tomorrow?", ("current_time",)),
        ("The latest news", ("web_search",)),
        ("How is the weather in Bremen?", ("get_weather",)),
        ('Translate "today 3 + 4"', ()),
        ("Get my poem", ()),
    ],
)
def test_words_call_for_tools(task: str, tools: tuple[str, ...]) -> None:
    known = ("calculate", "fetch_url", "current_time", "web_search", "ask_user", "get_weather", "my")
    assert expected_tools(task, known) == tools


@pytest.mark.parametrize(
    ("changes", "mode", "agents"),
    [
        (["without the writer"], "delegated", ("researcher",)),
        (["Use the coder instead of the writer."], "sequential", ("researcher", "coder")),
        (["replace the researcher with the analyst"], "sequential", ("writer", "analyst")),
        (["only the analyst"], "delegated", ("analyst",)),
        (["add the reviewer, please"], "sequential", ("researcher", "writer", "reviewer")),
        (["reviewers and coders too"], "sequential", ("researcher", "reviewer", "coder")),
        (["in parallel"], "parallel", ("researcher", "writer")),
        (["not sequential, but parallel"], "parallel", ("researcher", "writer")),
        (["fast, by the coder"], "fast", ("coder",)),
        (["let the writer and the coder discuss it"], "discussion", ("researcher", "writer", "coder")),
        (["as a handoff"], "handoff", ("researcher", "writer")),
        (["no writer", "but the coder"], "sequential", ("researcher", "coder")),
        (["Something more cheerful!"], "sequential", ("researcher", "writer")),
        (["without researcher and without writer"], "sequential", ("researcher", "writer")),
    ],
)
async def test_rules_obey_a_users_plain_words(changes: list[str], mode: str, agents: tuple[str, ...]) -> None:
    made = await Decisions(load_roster()).plan(Ask(message=TASK), changes=changes)
    assert (made.mode, made.agents) == (mode, agents)
    assert set(made.subtasks) <= set(agents)
    assert len(made.capabilities) == len(made.steps) == len(agents)


def test_changes_that_name_nobody_leave_the_plan_alone() -> None:
    before = cue_plan(TASK, load_roster())
    assert obeyed(before, ["Make it shorter."], load_roster()) is before
    assert named_mode(["Make it shorter."]) is None


def test_by_rules_all_speak_in_turn_twice() -> None:
    agents, said = ("a", "b", "c"), list[tuple[str, str]]()
    while speaker := in_turn(agents, said).speaker:
        said.append((speaker, "words"))
    assert [agent for agent, _ in said] == ["a", "b", "c"] * 2


def test_by_rules_whoever_has_spoken_least_is_next_but_never_twice_in_a_row() -> None:
    assert in_turn(("a", "b", "c"), [("a", ""), ("b", ""), ("a", ""), ("b", "")]).speaker == "c"
    assert in_turn(("a", "b"), [("a", ""), ("b", ""), ("a", ""), ("a", "")]).speaker == "b"
    assert in_turn(("a", "b"), [("b", ""), ("b", ""), ("a", "")]).speaker == "b"

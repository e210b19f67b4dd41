"""What is learned from: labels that people confirmed or corrected, never what measures, no kind of work drowned."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agentic_fleet.learning import curriculum as curriculum_module
from agentic_fleet.learning.curriculum import balanced, dealt, gather
from agentic_fleet.learning.examples import Example, Utterance
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.plans import ALONE
from agentic_fleet.workflows.tasks import Task, labelled_tasks, read_tasks, same_text
from tests.workflows.team import roster_file

ROSTER = load_roster()
TEAM = """
[workflow]
fast_agent = "clerk"
synthesis_agent = "clerk"
[agents.clerk]
description = "Pays bills."
instructions = "You pay bills."
skill = "bookkeeping"
[agents.driver]
description = "Carries goods."
instructions = "You drive."
skill = "driving"
"""
PRACTICE = read_tasks(Path(curriculum_module.__file__).with_name("practice.jsonl").read_text(encoding="utf-8"))
HELD_OUT = next(task for task in labelled_tasks() if task.held_out)


def example(task: str = "Describe the harbour crane.", **more: Any) -> Example:
    given: dict[str, Any] = {
        "workflow_id": task,
        "at": 1,
        "task": task,
        "mode": "delegated",
        "agents": ("writer",),
        "decided_by": "classifier",
        "quality_score": 9.0,
        "corrected": True,
        "replies": (Utterance(role="assistant", content="It is tall."),),
    }
    return Example(**(given | more))


def learned(*examples: Example, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(task.mode, task.agents) for task in gather(ROSTER, examples, **more).learned]


def test_what_people_found_good_is_learned() -> None:
    found = gather(ROSTER, [example()])
    assert [(task.task, task.mode, task.agents) for task in found.learned] == [
        ("Describe the harbour crane.", "delegated", ("writer",))
    ]
    assert found.counts == {"packaged": 192, "found good by people": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quality_score": 4.0}, "of lower quality"),
        ({"status": "failed"}, "of lower quality"),
        ({"corrected": False}, "planned by rules, and nobody has said if it was right"),
        ({"mode": "discussion", "agents": ("writer", "coder")}, "without a plan of this team"),
        ({"agents": ("stranger",)}, "without a plan of this team"),
        ({"context": (Utterance(role="user", content="Hi"),)}, "part of a conversation"),
        ({"task": HELD_OUT.task}, "known already"),
        ({"task": f"  {HELD_OUT.task.upper()} "}, "known already"),
        ({"task": labelled_tasks()[0].task}, "known already"),
    ],
)
def test_what_would_teach_nothing_or_cheat_is_left_out_and_counted(change: dict[str, Any], why: str) -> None:
    found = gather(ROSTER, [example(**change)])
    assert found.learned == ()
    assert found.counts == {"packaged": 192, why: 1}


@pytest.mark.parametrize("change", [{"decided_by": "model"}, {"asked_mode": "delegated"}])
def test_a_models_plan_or_a_users_mode_counts_when_the_judge_is_content(change: dict[str, Any]) -> None:
    assert learned(example(corrected=False, **change)) == [("delegated", ("writer",))]
    assert learned(example(corrected=False, quality_score=7.5, **change)) == []
    assert learned(example(corrected=False, quality_score=7.5, **change), min_quality=7) == [("delegated", ("writer",))]


@pytest.mark.parametrize(
    ("comment", "mode", "agents"),
    [
        ("Wrong. routing: coder, reviewer, sequential", "sequential", ("coder", "reviewer")),
        ("Routing: analyst and researcher in parallel", "parallel", ("analyst", "researcher")),
        ("routing: coder", "delegated", ("coder",)),
        ("routing: researcher, fast", "fast", ("researcher",)),
        ("routing: coder, planner", "sequential", ("coder", "planner")),
        ("routing: coder, parallel", "delegated", ("coder",)),
    ],
)
def test_a_comment_puts_the_routing_right_whatever_the_score(comment: str, mode: str, agents: tuple[str, ...]) -> None:
    assert learned(example(quality_score=2.0, comment=comment)) == [(mode, agents)]


def test_a_comment_that_merely_speaks_of_a_writer_is_about_the_answer() -> None:
    assert learned(example(quality_score=2.0, comment="The writer was too brief, ask a coder.")) == []
    assert learned(example(quality_score=2.0, comment="routing: nobody")) == []


def test_of_equal_tasks_the_newest_counts() -> None:
    older = example(workflow_id="a", at=1)
    newer = example("describe the  harbour crane", workflow_id="b", at=2, agents=("analyst",))
    assert learned(older, newer) == [("delegated", ("analyst",))]


def test_one_users_habit_does_not_drown_the_rest() -> None:
    many = [example(f"Write poem number {at}.") for at in range(100)]
    few = [example(f"Plan trip number {at}.", agents=("planner",)) for at in range(5)]
    assert Counter(agents[0] for _, agents in learned(*many, *few)) == {"writer": 40, "planner": 5}
    assert Counter(agents[0] for _, agents in learned(*many, *few, limit=8)) == {"writer": 4, "planner": 4}


def test_a_team_of_ones_own_is_measured_on_a_fifth_of_what_its_runs_teach(tmp_path: Path) -> None:
    roster = load_roster(roster_file(tmp_path, TEAM))
    crates = [example(f"Carry {n} crates.", agents=("driver",)) for n in range(30)]
    bills = [example(f"Pay bill {n}.", agents=("clerk",)) for n in range(30)]
    found = gather(roster, [*crates, *bills, example("Write a poem.")])
    assert (found.packaged, len(found.learned) + len(found.held_out)) == ((), 60)
    assert not set(found.learned) & set(found.held_out)
    assert 6 <= len(found.held_out) == found.counts["held out to measure"] <= 18
    fewer = gather(roster, [*crates[:15], *bills[:15]])
    assert set(fewer.held_out) < set(found.held_out)  # what measured has not taught since
    assert set(gather(roster, [*crates, *bills], seed=1).held_out) != set(found.held_out)


def test_tasks_that_are_given_measure_when_they_say_so_and_are_for_this_team() -> None:
    given = [
        Task(task="Carry crates.", complexity="simple", mode="delegated", agents=("driver",)),
        Task(task="Describe a crane.", complexity="simple", mode="delegated", agents=("writer",)),
        Task(task="Describe a quay.", complexity="simple", mode="delegated", agents=("writer",), held_out=True),
    ]
    found = gather(ROSTER, more=given)
    assert (found.learned, found.held_out[48:]) == ((given[1],), (given[2],))
    assert found.counts == {"packaged": 192, "for another team": 1, "given": 2}


def test_a_human_score_teaches_the_judge() -> None:
    found = gather(ROSTER, [example(quality_score=3.0), example("Other", corrected=False)])
    (judged,) = [it for it in found.judgements if it.task == "Describe the harbour crane."]
    assert (judged.answer, judged.verdict, judged.low, judged.high) == ("It is tall.", "refine", 1.5, 4.5)
    assert "Other" not in {it.task for it in found.judgements}


def test_piles_are_dealt_evenly_and_always_the_same() -> None:
    tasks = gather(ROSTER).packaged
    piles = dealt(tasks, 3, 7)
    assert piles == dealt(tasks, 3, 7) != dealt(tasks, 3, 8)
    assert sorted(task.task for pile in piles for task in pile) == sorted(task.task for task in tasks)
    for pile in piles:
        assert len(pile) == 64
        assert set(Counter(task.mode for task in pile).values()) <= set(range(10, 27))


def test_the_practice_tasks_follow_the_rule_and_are_none_of_the_packaged_ones() -> None:
    known = {same_text(task.task) for task in labelled_tasks()}
    assert len(PRACTICE) == 108
    assert not known & {same_text(task.task) for task in PRACTICE}
    for task in PRACTICE:
        assert (len(task.agents) == 1) is (task.mode in ALONE) is (task.complexity == "simple"), task
        assert set(task.agents) <= set(ROSTER)
        assert not task.held_out
    assert min(Counter((task.agents[0], task.mode) for task in PRACTICE).values()) >= 4


def test_the_digest_tells_one_curriculum_from_another() -> None:
    plain = gather(ROSTER)
    assert plain.digest == gather(ROSTER).digest
    assert plain.digest != gather(ROSTER, [example()]).digest


def test_the_judgements_cover_every_verdict_and_a_third_is_held_out() -> None:
    found = gather(ROSTER)
    assert {it.verdict for it in found.judgements} == {"complete", "refine", "continue"}
    assert {it.verdict for it in found.held_out_judgements} >= {"complete", "refine"}
    assert len(found.judgements) == 25
    assert len(found.held_out_judgements) == 11
    for it in (*found.judgements, *found.held_out_judgements):
        assert it.low < it.high
        assert (it.verdict == "complete") is (it.low >= 7)


def test_nothing_is_taken_when_nothing_may_be() -> None:
    assert balanced([], 10) == ()
    assert balanced([Task(task="t", complexity="simple", mode="fast", agents=("coder",))], 0) == ()

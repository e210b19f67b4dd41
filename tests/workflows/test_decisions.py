"""Decisions: whatever a model answers, the plan is one that can be carried out, and no run fails."""

import json
import sys
from typing import Any

import anyio
import pytest

from agentic_fleet.turns import Ask
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.classifier import labelled_tasks
from agentic_fleet.workflows.cues import cue_plan, simple_plan
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.plans import ALONE, WORKS
from tests.fake_openai import FakeOpenAI, Reply
from tests.workflows.team import TASK, Script, bounded, plan, says

GOOD_ANSWER = "The moon pulls at the sea, and so tides rise and fall twice a day in the harbour."


def decisions_over(endpoint: Endpoint, **bounds: Any) -> Decisions:
    configure_dspy()
    return Decisions(bounded(**bounds), lm=build_lm(endpoint))


async def test_the_model_is_asked_in_a_closed_form_without_litellm(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("sequential", "researcher", "writer"))
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert (made.mode, made.agents, made.decided_by) == ("sequential", ("researcher", "writer"), "model")
    assert made.subtasks == {"researcher": "the part of researcher", "writer": "the part of writer"}
    (call,) = fake.calls
    asked = call.body["response_format"]["json_schema"]
    names = list(load_roster())
    assert asked["strict"] is True
    assert asked["schema"]["additionalProperties"] is False
    assert asked["schema"]["properties"]["mode"]["enum"] == list(WORKS)
    assert asked["schema"]["properties"]["agent_1"]["enum"] == names
    assert asked["schema"]["properties"]["agent_3"]["enum"] == [*names, "none"]
    assert "litellm" not in sys.modules


async def test_the_prompt_is_short_and_shows_labelled_examples(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    with anyio.fail_after(10):
        await decisions_over(endpoint).plan(Ask(message=TASK))
    messages = fake.calls[0].body["messages"]
    shown = [task for task in labelled_tasks() if task.subtasks]
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * len(shown), "user"]
    assert [json.loads(message["content"])["mode"] for message in messages[2:-1:2]] == [task.mode for task in shown]
    assert messages[-1]["content"] == f"Task: {TASK}"
    assert len(messages[0]["content"].split()) < 250


async def test_nothing_of_a_decision_is_kept(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        await decisions.plan(Ask(message=TASK))
    assert not decisions._planner.history
    assert not decisions._lm.history


@pytest.mark.parametrize(
    "said",
    ["Well, I would ask the writer.", "{", "{}", "[1, 2]", "null", '{"mode": "delegated", "agent_1": "stranger"}']
    + ['{"mode": "delegated", "agent_1": ["writer"]}', '{"agent_1": {"name": "writer"}, "mode": 7}', "7"],
)
async def test_nonsense_becomes_a_plan_by_rules_with_one_warning(
    fake: FakeOpenAI, endpoint: Endpoint, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake.reply = lambda body: says(said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert (made.mode, made.agents, made.decided_by) == ("sequential", ("researcher", "writer"), "fallback")
    assert len([r for r in caplog.records if r.name == "agentic_fleet.workflows.decisions"]) == 1
    assert "harbour" not in caplog.text


@pytest.mark.parametrize(
    ("said", "mode", "agents"),
    [
        (plan("handstand", "researcher", "writer"), "sequential", ("researcher", "writer")),
        (plan("handstand", "writer"), "delegated", ("writer",)),
        (plan("parallel", "writer", "none", "none"), "delegated", ("writer",)),
        (plan("parallel", "stranger", "coder", "writer"), "parallel", ("coder", "writer")),
        (plan("sequential", "writer", "writer", "coder"), "sequential", ("writer", "coder")),
        (plan("fast", "writer", "coder"), "fast", ("writer",)),
    ],
)
async def test_a_plan_that_is_half_right_is_put_right(
    fake: FakeOpenAI, endpoint: Endpoint, said: dict[str, Any], mode: str, agents: tuple[str, ...]
) -> None:
    fake.reply = Script(plan=said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert (made.mode, made.agents, made.decided_by) == (mode, agents, "model")
    assert set(made.subtasks) <= set(agents)


async def test_a_fenced_answer_is_understood(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says(f"Sure!\n```json\n{json.dumps(plan('delegated', 'coder'))}\n```")
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert (made.agents, made.decided_by) == (("coder",), "model")


async def test_a_decision_that_is_late_is_made_by_rules(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("{", hold_before=anyio.Event())
    with anyio.fail_after(10):
        made = await decisions_over(endpoint, decision_timeout=0.2).plan(Ask(message=TASK))
        await fake.settled()
    assert (made.decided_by, fake.hangups) == ("fallback", 1)


async def test_a_model_that_fails_leaves_both_decisions_to_rules(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = lambda body: Reply(status=400)
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        assert (await decisions.plan(Ask(message=TASK))).decided_by == "fallback"
        assert (await decisions.assess(TASK, GOOD_ANSWER)).decided_by == "rules"


@pytest.mark.parametrize(
    ("said", "score", "verdict"),
    [
        ({"score": 14, "verdict": "complete", "missing": ""}, 10, "complete"),
        ({"score": -2, "verdict": "refine", "missing": "All."}, 0, "refine"),
        ({"score": "8", "verdict": "splendid", "missing": ""}, 8, "complete"),
        ({"score": 4.5, "verdict": None, "missing": "The end."}, 4.5, "refine"),
    ],
)
async def test_an_assessment_is_brought_into_its_bounds(
    fake: FakeOpenAI, endpoint: Endpoint, said: dict[str, Any], score: float, verdict: str
) -> None:
    fake.reply = Script(assessment=said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).assess(TASK, GOOD_ANSWER)
    assert (made.score, made.verdict, made.decided_by) == (score, verdict, "model")


@pytest.mark.parametrize("said", ['{"score": "good"}', '{"score": NaN}', "{}", "Nice!"])
async def test_an_assessment_without_a_score_is_made_by_rules(fake: FakeOpenAI, endpoint: Endpoint, said: str) -> None:
    fake.reply = lambda body: says(said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).assess(TASK, GOOD_ANSWER)
    assert (made.decided_by, made.verdict) == ("rules", "complete")


async def test_a_long_answer_is_judged_by_both_its_ends(fake: FakeOpenAI, endpoint: Endpoint) -> None:
    fake.reply = Script()
    with anyio.fail_after(10):
        await decisions_over(endpoint).assess(TASK, "beginning " + "x" * 50_000 + " ending")
    sent = fake.calls[0].body["messages"][-1]["content"]
    assert "beginning" in sent
    assert "ending" in sent
    assert len(sent) < 9_000


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

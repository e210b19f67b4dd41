"""Decisions: whatever a model answers, the plan is one that can be carried out, and no run fails."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.turns import Ask, Mode
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.cues import cue_plan
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.plans import WORKS, Plan
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.workflows.team import GOOD_ANSWER, TASK, Script, decisions_over, plan, roster_file, says


async def test_the_model_is_asked_in_a_closed_form_without_litellm(fake: ScriptedModel, endpoint: Endpoint) -> None:
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


async def test_the_prompt_is_short_and_shows_labelled_examples(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    with anyio.fail_after(10):
        await decisions_over(endpoint).plan(Ask(message=TASK))
    messages = fake.calls[0].body["messages"]
    shown = [task for task in labelled_tasks() if task.subtasks]
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * len(shown), "user"]
    assert [json.loads(message["content"])["mode"] for message in messages[2:-1:2]] == [task.mode for task in shown]
    assert messages[-1]["content"] == f"Task: {TASK}"
    assert len(messages[0]["content"].split()) < 250


async def test_nothing_of_a_decision_is_kept(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        await decisions.plan(Ask(message=TASK))
    assert not decisions.programs.planner.history
    assert not decisions._lm.history


@pytest.mark.parametrize(
    "said",
    ["Well, I would ask the writer.", "{", "{}", "[1, 2]", "null", '{"mode": "delegated", "agent_1": "stranger"}']
    + ['{"mode": "delegated", "agent_1": ["writer"]}', '{"agent_1": {"name": "writer"}, "mode": 7}', "7"],
)
async def test_nonsense_becomes_a_plan_by_rules_with_one_warning(
    fake: ScriptedModel, endpoint: Endpoint, said: str, caplog: pytest.LogCaptureFixture
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
    fake: ScriptedModel, endpoint: Endpoint, said: dict[str, Any], mode: str, agents: tuple[str, ...]
) -> None:
    fake.reply = Script(plan=said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert (made.mode, made.agents, made.decided_by) == (mode, agents, "model")
    assert set(made.subtasks) <= set(agents)


async def test_a_fenced_answer_is_understood(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says(f"Sure!\n```json\n{json.dumps(plan('delegated', 'coder'))}\n```")
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert (made.agents, made.decided_by) == (("coder",), "model")


async def test_a_decision_that_is_late_is_made_by_rules(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("{", hold_before=anyio.Event())
    with anyio.fail_after(10):
        made = await decisions_over(endpoint, decision_timeout=0.2).plan(Ask(message=TASK))
        await fake.settled()
    assert (made.decided_by, fake.hangups) == ("fallback", 1)


async def test_a_model_that_fails_leaves_both_decisions_to_rules(fake: ScriptedModel, endpoint: Endpoint) -> None:
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
    fake: ScriptedModel, endpoint: Endpoint, said: dict[str, Any], score: float, verdict: str
) -> None:
    fake.reply = Script(assessment=said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).assess(TASK, GOOD_ANSWER)
    assert (made.score, made.verdict, made.decided_by) == (score, verdict, "model")


@pytest.mark.parametrize("said", ['{"score": "good"}', '{"score": NaN}', "{}", "Nice!"])
async def test_an_assessment_without_a_score_is_made_by_rules(
    fake: ScriptedModel, endpoint: Endpoint, said: str
) -> None:
    fake.reply = lambda body: says(said)
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).assess(TASK, GOOD_ANSWER)
    assert (made.decided_by, made.verdict) == ("rules", "complete")


async def test_a_long_answer_is_judged_by_both_its_ends(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script()
    with anyio.fail_after(10):
        await decisions_over(endpoint).assess(TASK, "beginning " + "x" * 50_000 + " ending")
    sent = fake.calls[0].body["messages"][-1]["content"]
    assert "beginning" in sent
    assert "ending" in sent
    assert len(sent) < 9_000


async def test_a_plan_says_which_skills_steps_and_tools_it_takes(fake: ScriptedModel, endpoint: Endpoint) -> None:
    tools = {"tool_1": "web_search", "tool_2": "calculate", "tool_3": "hammer"}
    fake.reply = Script(plan={**plan("sequential", "researcher", "writer"), "part_2": "", **tools})
    with anyio.fail_after(10):
        made = await decisions_over(endpoint).plan(Ask(message=TASK))
    assert made.capabilities == ("research", "writing")
    assert made.steps == ("the part of researcher", load_roster()["writer"].description)
    assert made.tools == ("web_search",)  # the writer has no calculate, and nobody has a hammer
    properties = fake.calls[0].body["response_format"]["json_schema"]["schema"]["properties"]
    assert properties["tool_1"]["enum"] == ["web_search", "fetch_url", "current_time", "calculate", "none"]
    assert not made.cached


async def test_a_team_without_tools_is_not_planned_with_any(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    agent = 'description = "d"\ninstructions = "i"\nskill = "singing"'
    text = f'[workflow]\nfast_agent = "anna"\nsynthesis_agent = "anna"\n[agents.anna]\n{agent}\n[agents.otto]\n{agent}'
    fake.reply = Script(plan=plan("sequential", "otto", "anna"))
    configure_dspy()
    with anyio.fail_after(10):
        made = await Decisions(load_roster(roster_file(tmp_path, text)), lm=build_lm(endpoint)).plan(Ask(message=TASK))
    assert (made.agents, made.tools, made.capabilities) == (("otto", "anna"), (), ("singing", "singing"))
    assert "tool" not in json.dumps(fake.calls[0].body["response_format"])


async def test_a_users_changes_reach_the_model_and_are_not_kept_for_others(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(plan=plan("delegated", "coder"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        changed = await decisions.plan(Ask(message=TASK), changes=["Let somebody else", "with code"])
        plain = await decisions.plan(Ask(message=TASK))
    assert fake.calls[0].body["messages"][-1]["content"] == (
        f"Task: {TASK}\nWanted changes: Let somebody else\nwith code"
    )
    assert changed.agents == ("coder",)
    assert (plain.cached, len(decisions.plans)) == (False, 1)


@pytest.mark.parametrize("mode", ["handoff", "discussion"])
async def test_a_handoff_or_discussion_is_for_those_who_ask_and_takes_two(
    fake: ScriptedModel, endpoint: Endpoint, mode: Mode
) -> None:
    fake.reply = Script(plan=plan("delegated", "coder"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        made = await decisions.plan(Ask(message=TASK, mode=mode))
        fake.reply = Script(plan=plan(mode, "coder", "writer"))
        auto = await decisions.plan(Ask(message=f"{TASK} Now."))
    assert (made.mode, made.agents) == (mode, ("coder", "researcher"))
    assert (auto.mode, auto.agents) == ("sequential", ("coder", "writer"))


async def test_where_there_is_only_one_agent_it_works_alone_in_every_mode(tmp_path: Path) -> None:
    agent = 'description = "d"\ninstructions = "i"\nskill = "singing"'
    text = f'[workflow]\nfast_agent = "anna"\nsynthesis_agent = "anna"\n[agents.anna]\n{agent}'
    decisions = Decisions(load_roster(roster_file(tmp_path, text)))
    modes: Sequence[Mode] = ("sequential", "parallel", "handoff", "discussion")
    for mode in modes:
        made = await decisions.plan(Ask(message=TASK, mode=mode))
        assert (made.mode, made.agents) == ("delegated", ("anna",))


async def test_where_there_is_no_choice_the_model_in_the_chair_is_not_asked(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        first = await decisions.next_speaker(TASK, ("coder", "writer"), [])
        second = await decisions.next_speaker(TASK, ("coder", "writer"), [("coder", "Hm.")])
    assert ((first.speaker, first.decided_by), second.speaker) == (("coder", "rule"), "writer")
    assert not fake.calls


def test_a_plan_can_be_written_down_and_read_again() -> None:
    before = cue_plan(TASK, load_roster())
    assert msgspec.json.decode(msgspec.json.encode(before), type=Plan) == before

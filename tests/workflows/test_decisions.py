"""Decisions: whatever a model answers, the plan is one that can be carried out, and no run fails."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec
import pytest

from agentic_fleet import context
from agentic_fleet.conversations import Message
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.turns import Ask, Mode
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.changes import named_mode, obeyed
from agentic_fleet.workflows.cues import cue_plan, expected_tools, simple_plan
from agentic_fleet.workflows.decisions import Decisions, in_turn
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.plans import ALONE, WORKS, Plan
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.workflows.team import TASK, Script, bounded, plan, roster_file, says

GOOD_ANSWER = "The moon pulls at the sea, and so tides rise and fall twice a day in the harbour."


def decisions_over(endpoint: Endpoint, **bounds: Any) -> Decisions:
    configure_dspy()
    return Decisions(bounded(**bounds), lm=build_lm(endpoint))


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


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def said_before(*texts: str) -> list[Message]:
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    return [
        Message(id=str(at), conversation_id="c1", role=roles[at % 2], content=text, created_at=at)
        for at, text in enumerate(texts)
    ]


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


async def test_the_model_plans_with_the_conversation_in_mind(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    history = said_before("Tides?", "They rise. " * 900)
    with anyio.fail_after(10):
        await decisions_over(endpoint).plan(Ask(message="Make a poem of that."), history)
    sent = fake.calls[0].body["messages"][-1]["content"]
    assert sent.startswith("Context: User: Tides?\nTeam: They rise. They rise.")
    assert sent.endswith("\nTask: Make a poem of that.")
    assert len(sent) < 600 * 4 + 100


async def test_an_equal_question_of_the_same_caller_gets_the_same_plan_without_a_call(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(plan=plan("sequential", "researcher", "writer"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        first = await decisions.plan(Ask(message=TASK))
        again = await decisions.plan(Ask(message=TASK))
        alone = await decisions.plan(Ask(message=TASK, mode="delegated"))
    assert (first.cached, again.cached, len(fake.calls)) == (False, True, 1)
    assert (again.agents, again.mode, again.decided_by) == (first.agents, first.mode, "model")
    assert (alone.mode, alone.agents, alone.cached) == ("delegated", ("researcher",), True)


async def test_another_caller_or_conversation_gets_a_plan_of_its_own(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        await decisions.plan(Ask(message=TASK))
        with context.bind(caller="eve"):
            assert not (await decisions.plan(Ask(message=TASK))).cached
            assert not (await decisions.plan(Ask(message=TASK), said_before("Hi", "Hello!"))).cached
            assert not (await decisions.plan(Ask(message=f"{TASK} "))).cached
            assert (await decisions.plan(Ask(message=TASK))).cached
    assert len(fake.calls) == 4


async def test_a_plan_is_kept_for_its_time_only(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    configure_dspy()
    clock = Clock()
    decisions = Decisions(bounded(plan_cache_ttl=300), lm=build_lm(endpoint), clock=clock)
    kept = []
    with anyio.fail_after(10):
        for later in (0, 299, 1, 299):
            clock.now += later
            kept.append((await decisions.plan(Ask(message=TASK))).cached)
    assert (kept, len(fake.calls)) == ([False, True, False, True], 2)


@pytest.mark.parametrize(("size", "ttl", "calls"), [(2, 300, 4), (3, 300, 3), (0, 300, 5), (3, 0, 5)])
async def test_the_plan_that_was_not_used_for_longest_makes_room(
    fake: ScriptedModel, endpoint: Endpoint, size: int, ttl: float, calls: int
) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    decisions = decisions_over(endpoint, plan_cache_size=size, plan_cache_ttl=ttl)
    with anyio.fail_after(10):
        for poem in (1, 2, 1, 3, 2):
            await decisions.plan(Ask(message=f"Write poem number {poem} of our series"))
    assert len(fake.calls) == calls
    assert len(decisions.plans) <= size


async def test_a_plan_made_in_an_emergency_is_not_kept(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("Well.")
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        assert (await decisions.plan(Ask(message=TASK))).decided_by == "fallback"
        fake.reply = Script(plan=plan("delegated", "coder"))
        made = await decisions.plan(Ask(message=TASK))
    assert (made.agents, made.decided_by, made.cached) == (("coder",), "model", False)


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


def test_by_rules_all_speak_in_turn_twice() -> None:
    agents, said = ("a", "b", "c"), list[tuple[str, str]]()
    while speaker := in_turn(agents, said).speaker:
        said.append((speaker, "words"))
    assert [agent for agent, _ in said] == ["a", "b", "c"] * 2


def test_by_rules_whoever_has_spoken_least_is_next_but_never_twice_in_a_row() -> None:
    assert in_turn(("a", "b", "c"), [("a", ""), ("b", ""), ("a", ""), ("b", "")]).speaker == "c"
    assert in_turn(("a", "b"), [("a", ""), ("b", ""), ("a", ""), ("a", "")]).speaker == "b"
    assert in_turn(("a", "b"), [("b", ""), ("b", ""), ("a", "")]).speaker == "b"


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

"""Agents who talk to each other: who speaks when, what is shown, what a pause leaves, and what stops them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.turns import Turn
from agentic_fleet.workflows.agents import build_team
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.desk import Desk, Paused, at
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import configure_dspy
from agentic_fleet.workflows.modes import Answer, Shift
from agentic_fleet.workflows.orchestrations import discussion, handoff
from agentic_fleet.workflows.plans import Plan, Work
from agentic_fleet.workflows.tools.toolbox import Toolbox, open_toolbox
from tests.workflows.team import Screen, Script, bounded, model_over, says, turn

_TYPE = StreamEventType


class Stage:
    """A team over the fake model, and everything that an orchestration needs beside a plan."""

    def __init__(
        self, endpoint: Endpoint, *, by_model: bool = False, toolbox: Toolbox | None = None, **bounds: Any
    ) -> None:
        configure_dspy()
        self.roster = bounded(**bounds)
        model = model_over(endpoint, small=False)
        self.decisions = Decisions(self.roster, lm=model.lm if by_model else None)
        self.team = build_team(self.roster, model, toolbox, [toolbox.gate] if toolbox else ())
        self.turn = turn()
        self.screen = Screen()

    async def discuss(self, *agents: str) -> Answer:
        with self._desk() as shift:
            return await discussion(shift, plan_for("discussion", *agents), self.decisions.next_speaker)

    async def hand_over(self, *agents: str) -> Answer:
        with self._desk() as shift:
            return await handoff(shift, plan_for("handoff", *agents))

    @contextmanager
    def _desk(self) -> Iterator[Shift]:
        shift = Shift(team=self.team, bounds=self.roster.bounds, turn=self.turn, emit=self.screen, takes_effort=True)
        with at(Desk(self.turn, self.screen)):
            yield shift

    def go_on(self, paused: Paused, *answers: Any) -> None:
        """The human has answered: the same log goes on, on a new screen."""
        given = {request.request_id: answer for request, answer in zip(paused.requests, answers, strict=True)}
        self._next(replace(self.turn, answers={**self.turn.answers, **given}))

    def begin_anew(self) -> None:
        self._next(replace(self.turn, retell=True))

    def _next(self, next_turn: Turn) -> None:
        self.turn, self.screen = next_turn, Screen()


def plan_for(mode: Work, *agents: str) -> Plan:
    parts = {agent: f"the part of {agent}" for agent in agents}
    return Plan(complexity="complex", mode=mode, agents=agents, subtasks=parts, reason="", decided_by="rule")


def chaired(script: Script, *speakers: str) -> Callable[[Body], Reply]:
    """The script, and a model in the chair that names these speakers, one after the other."""
    names = iter(speakers)

    def reply(body: Body) -> Reply:
        return says(json.dumps({"speaker": next(names)})) if asks_for_a_speaker(body) else script(body)

    return reply


def asks_for_a_speaker(body: Body) -> bool:
    wanted = body.get("response_format")
    return wanted is not None and "speaker" in wanted["json_schema"]["schema"]["properties"]


def passing_on(target: str, *tokens: str) -> Reply:
    return says(*tokens, tool_calls=[(f"handoff_to_{target}", "{}")])


def asking(question: str, *tokens: str) -> Reply:
    return says(*tokens, tool_calls=[("ask_user", json.dumps({"question": question}))])


def in_order(*replies: Reply) -> Callable[[Body], Reply]:
    """Each of them once."""
    left = iter(replies)
    return lambda body: next(left)


def has_the_floor(agent: str) -> list[str]:
    """The story of one contribution to a discussion."""
    steps = [f"agent.{step} {agent}" for step in ("start", "delta", "output", "complete")]
    return ["orchestrator.thought discussion", *steps]


def floor(screen: Screen) -> list[str | None]:
    """Who was given the floor; None at the end."""
    return [(e.data or {})["speaker"] for e in screen.of(_TYPE.ORCHESTRATOR_THOUGHT) if e.kind == "discussion"]


def handoffs(screen: Screen) -> list[dict[str, Any]]:
    return [e.data or {} for e in screen.of(_TYPE.ORCHESTRATOR_THOUGHT) if e.kind == "handoff"]


def prompts(fake: ScriptedModel) -> list[str]:
    return [call.body["messages"][-1]["content"] for call in fake.calls]


THREE = {"researcher": says("The moon", " pulls."), "analyst": says("Twice a day."), "writer": says("O", " moon!")}


async def test_a_discussion_shows_who_has_the_floor_and_what_they_say_and_ends_with_one_answer(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(says=THREE)
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        answer = await stage.discuss("researcher", "analyst")
    assert stage.screen.story() == [
        *has_the_floor("researcher"),
        *has_the_floor("analyst"),
        *has_the_floor("researcher"),
        *has_the_floor("analyst"),
        "orchestrator.thought discussion",
        "agent.start writer",
        "response.delta writer",
        "agent.output writer",
        "agent.complete writer",
    ]
    assert (answer.text, answer.agent, answer.agents) == ("O moon!", "writer", ("researcher", "analyst"))
    assert stage.screen.text() == answer.text
    assert floor(stage.screen) == ["researcher", "analyst", "researcher", "analyst", None]
    assert (stage.screen.events[0].data or {}) == {"speaker": "researcher", "round": 1, "of": 6, "decided_by": "rule"}
    assert stage.screen.of(_TYPE.AGENT_START)[0].message == "the part of researcher"


async def test_each_speaker_reads_what_was_said_before_and_so_does_who_answers(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(says=THREE)
    with anyio.fail_after(10):
        await Stage(endpoint).discuss("researcher", "analyst")
    opening, second, *_, last = prompts(fake)
    assert "You open a discussion" in opening
    assert "Your part: the part of analyst" in second
    assert "## researcher\nThe moon pulls." in second
    assert last.count("## researcher\nThe moon pulls.") == last.count("## analyst\nTwice a day.") == 2


async def test_a_model_in_the_chair_chooses_among_the_others_and_ends_the_discussion(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = chaired(Script(says={**THREE, "coder": says("print()")}), "coder", "researcher", "stop")
    stage = Stage(endpoint, by_model=True)
    with anyio.fail_after(10):
        await stage.discuss("researcher", "analyst", "coder")
    assert floor(stage.screen) == ["researcher", "coder", "researcher", None]
    first, second, third = [call.body for call in fake.calls if asks_for_a_speaker(call.body)]
    choices = [b["response_format"]["json_schema"]["schema"]["properties"]["speaker"]["enum"] for b in (first, second)]
    assert choices == [["analyst", "coder"], ["researcher", "analyst", "stop"]]
    assert "## coder\nprint()" in third["messages"][-1]["content"]


@pytest.mark.parametrize("nonsense", ["stranger", "researcher", "stop"])
async def test_a_chair_that_talks_nonsense_is_heard_once_and_rules_go_on(
    fake: ScriptedModel, endpoint: Endpoint, nonsense: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The researcher has just spoken, and before anybody else has there is nothing to stop."""
    fake.reply = chaired(Script(says={**THREE, "coder": says("print()")}), nonsense)
    stage = Stage(endpoint, by_model=True)
    with anyio.fail_after(10):
        await stage.discuss("researcher", "analyst", "coder")
    assert floor(stage.screen) == ["researcher", "analyst", "coder"] * 2 + [None]
    assert sum(asks_for_a_speaker(call.body) for call in fake.calls) == 1
    assert len([r for r in caplog.records if "no usable speaker" in r.message]) == 1


async def test_a_discussion_ends_at_its_bound(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = chaired(Script(says=THREE), *["researcher", "analyst"] * 9)
    stage = Stage(endpoint, by_model=True, discussion_rounds=3)
    with anyio.fail_after(10):
        await stage.discuss("researcher", "analyst")
    assert floor(stage.screen) == ["researcher", "analyst", "researcher", None]
    assert stage.screen.text() == "O moon!"


async def test_an_agent_that_fails_ends_the_discussion_and_the_others_words_are_answered_from(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(says={**THREE, "analyst": Reply(status=400)})
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        answer = await stage.discuss("researcher", "analyst")
    (failed,) = [e for e in stage.screen.of(_TYPE.AGENT_COMPLETE) if e.error]
    assert answer.failed == {"analyst": failed.error}
    assert (answer.text, answer.agents) == ("O moon!", ("researcher",))
    assert floor(stage.screen) == ["researcher", "analyst", None]


async def test_a_discussion_whose_first_speaker_fails_has_no_answer(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(says={"researcher": Reply(status=400)})
    stage = Stage(endpoint)
    with anyio.fail_after(10), pytest.raises(ModelFailed):
        await stage.discuss("researcher", "analyst")
    assert not stage.screen.text()


async def test_a_question_pauses_a_discussion_which_goes_on_where_it_was(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    replies = [says("The moon."), asking("Which harbour?", "Hm."), says("Bremen, then."), says("Low tide."), says("x")]
    fake.reply = in_order(*replies, says("O moon!"))
    with anyio.fail_after(10):
        async with open_toolbox({}, {"ask_user"}) as toolbox:
            stage = Stage(endpoint, toolbox=toolbox, discussion_rounds=4)
            stage.team["analyst"].default_options["tools"] = toolbox.of(["ask_user"])
            with pytest.raises(Paused) as paused:
                await stage.discuss("researcher", "analyst")
            assert paused.value.requests[0].request == {"question": "Which harbour?", "agent": "analyst"}
            assert stage.screen.story()[-2:] == ["agent.start analyst", "agent.delta analyst"]
            stage.go_on(paused.value, "Bremen")
            answer = await stage.discuss("researcher", "analyst")
    assert stage.screen.story()[:4] == [
        "agent.delta analyst",
        "agent.output analyst",
        "agent.complete analyst",
        "orchestrator.thought discussion",
    ]
    assert stage.screen.of(_TYPE.AGENT_DELTA)[0].delta == "Bremen, then."
    assert stage.screen.of(_TYPE.AGENT_OUTPUT)[0].message == "Hm.Bremen, then."
    assert floor(stage.screen) == ["researcher", "analyst", None]
    assert (answer.text, len(fake.calls)) == ("O moon!", 6)


async def test_readers_who_begin_anew_are_told_a_discussion_again_without_a_call(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = chaired(Script(says={**THREE, "coder": says("print()")}), "coder", "nobody")
    stage = Stage(endpoint, by_model=True)
    with anyio.fail_after(10):
        first = await stage.discuss("researcher", "analyst", "coder")
        calls, story = len(fake.calls), stage.screen.story()
        stage.begin_anew()
        again = await stage.discuss("researcher", "analyst", "coder")
    assert (again, stage.screen.story(), len(fake.calls)) == (first, story, calls)
    assert stage.screen.text() == first.text


async def test_a_handoff_passes_the_task_on_and_the_last_agents_text_is_the_answer(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(
        says={"researcher": passing_on("writer", "A poem", " is wanted."), "writer": says("O", " moon!")}
    )
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        answer = await stage.hand_over("researcher", "writer")
    assert stage.screen.story() == [
        "agent.start researcher",
        "agent.delta researcher",
        "agent.output researcher",
        "agent.complete researcher",
        "orchestrator.thought handoff",
        "agent.start writer",
        "agent.delta writer",
        "agent.output writer",
        "agent.complete writer",
        "response.delta writer",
    ]
    assert handoffs(stage.screen) == [{"from": "researcher", "to": "writer", "reason": "A poem is wanted."}]
    assert [e.delta for e in stage.screen.of(_TYPE.AGENT_DELTA)] == ["A poem", " is wanted.", "O", " moon!"]
    assert [e.delta for e in stage.screen.of(_TYPE.RESPONSE_DELTA)] == ["O moon!"]
    assert (answer.text, answer.agent, answer.agents) == ("O moon!", "writer", ("researcher", "writer"))
    assert len(fake.calls) == 2


async def test_agents_are_offered_handoffs_to_each_other_and_read_what_was_said(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(says={"researcher": passing_on("writer", "A poem."), "writer": says("O moon!")})
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        await stage.hand_over("researcher", "analyst", "writer")
    first, second = (call.body for call in fake.calls)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["handoff_to_analyst", "handoff_to_writer"]
    assert first["tools"][0]["function"]["description"] == stage.roster["analyst"].description
    assert "hand over" in first["messages"][-1]["content"]
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant"]
    assert second["messages"][-1]["content"] == "A poem."


async def test_an_agent_that_does_not_hand_over_answers(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(says={"researcher": says("Tides.")})
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        answer = await stage.hand_over("researcher", "writer")
    assert (answer.text, answer.agents, stage.screen.text()) == ("Tides.", ("researcher",), "Tides.")


async def test_agents_that_pass_a_task_to_and_fro_are_stopped_and_the_supervisor_answers(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    circle = {"researcher": passing_on("analyst", "Not me."), "analyst": passing_on("researcher")}
    fake.reply = Script(says={**circle, "writer": says("Told.")})
    stage = Stage(endpoint, handoff_turns=3)
    with anyio.fail_after(10):
        answer = await stage.hand_over("researcher", "analyst")
    assert [(h["from"], h["to"]) for h in handoffs(stage.screen)] == [
        ("researcher", "analyst"),
        ("analyst", "researcher"),
        ("researcher", "analyst"),
    ]
    assert handoffs(stage.screen)[1]["reason"] == stage.roster["researcher"].description
    assert len(stage.screen.of(_TYPE.AGENT_START)) == 3 + 1
    assert (answer.text, answer.agent, stage.screen.text()) == ("Told.", "writer", "Told.")
    assert prompts(fake)[-1].count("## researcher\nNot me.") == 2


async def test_a_handoff_leaves_nothing_in_the_shared_agents(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(says={"researcher": passing_on("writer", "A poem."), "writer": says("O moon!")})
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        for _ in range(2):
            await stage.hand_over("researcher", "writer")
            stage.turn = turn("Another task.", reasoning_effort="maximal")
    assert [len(call.body["messages"]) for call in fake.calls] == [2, 3, 2, 3]
    assert [call.body.get("reasoning_effort") for call in fake.calls] == [None, None, "high", "high"]
    for agent in stage.team.values():
        assert not agent.context_providers
        assert not agent.middleware
        assert not agent.default_options.get("tools")
        assert "reasoning_effort" not in agent.default_options


@pytest.mark.parametrize(("words", "answer"), [(["A poem."], "Told."), ([], None)])
async def test_when_the_one_who_takes_over_fails_what_was_said_decides(
    fake: ScriptedModel, endpoint: Endpoint, words: Sequence[str], answer: str | None
) -> None:
    fake.reply = Script(
        says={"researcher": passing_on("coder", *words), "coder": Reply(status=400), "writer": says("Told.")}
    )
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        if answer is None:
            with pytest.raises(ModelFailed):
                await stage.hand_over("researcher", "coder")
        else:
            done = await stage.hand_over("researcher", "coder")
            assert (done.text, list(done.failed)) == (answer, ["coder"])
    (failed,) = [e for e in stage.screen.of(_TYPE.AGENT_COMPLETE) if e.error]
    assert failed.agent_id == "coder"


async def test_each_agent_of_a_handoff_has_its_own_time(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(says={"researcher": says("x", hold_after=(0, anyio.Event()))})
    with anyio.fail_after(10), pytest.raises(TimedOut, match=r"^The agent researcher took longer than 0\.3 s\.$"):
        await Stage(endpoint, agent_timeout=0.3).hand_over("researcher", "writer")
    with anyio.fail_after(10):
        await fake.settled()
    assert fake.hangups == 1


async def test_a_handed_over_answer_is_stopped_at_its_bound(fake: ScriptedModel, endpoint: Endpoint) -> None:
    endless = says(*["0123456789" * 3] * 40, hold_after=(30, anyio.Event()))
    fake.reply = Script(says={"researcher": endless})
    stage = Stage(endpoint, max_answer_characters=100)
    with anyio.fail_after(10):
        answer = await stage.hand_over("researcher", "writer")
        await fake.settled()
    assert (answer.text, answer.cut, stage.screen.text()) == ("0123456789" * 10, True, "0123456789" * 10)
    assert fake.hangups == 1


async def test_reasoning_in_a_handoff_is_shown_apart(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("Yes.", reasoning=["Let me", " see"])
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        await stage.hand_over("researcher", "writer")
    assert stage.screen.story()[1:4] == [
        "reasoning.delta researcher",
        "reasoning.completed researcher",
        "agent.delta researcher",
    ]


async def test_a_question_pauses_a_handoff_which_goes_on_where_it_was(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = in_order(
        passing_on("writer", "A poem."),
        asking("Which harbour?", "Hm."),
        passing_on("researcher", "Facts!"),
        says("So."),
    )
    with anyio.fail_after(10):
        async with open_toolbox({}, {"ask_user"}) as toolbox:
            stage = Stage(endpoint, toolbox=toolbox)
            stage.team["writer"].default_options["tools"] = toolbox.of(["ask_user"])
            with pytest.raises(Paused) as paused:
                await stage.hand_over("researcher", "writer")
            assert paused.value.requests[0].request == {"question": "Which harbour?", "agent": "writer"}
            assert stage.screen.story()[-2:] == ["agent.start writer", "agent.delta writer"]
            stage.go_on(paused.value, "Bremen")
            answer = await stage.hand_over("researcher", "writer")
    assert stage.screen.story() == [
        "agent.delta writer",
        "agent.output writer",
        "agent.complete writer",
        "orchestrator.thought handoff",
        "agent.start researcher",
        "agent.delta researcher",
        "agent.output researcher",
        "agent.complete researcher",
        "response.delta researcher",
    ]
    assert stage.screen.text(_TYPE.AGENT_DELTA, "writer") == "Facts!"
    assert (answer.text, len(fake.calls)) == ("So.", 4)
    assert [m["content"] for m in fake.calls[2].body["messages"] if m["role"] == "tool"] == ["Bremen"]


async def test_readers_who_begin_anew_are_told_a_handoff_again_without_a_call(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(says={"researcher": passing_on("writer", "A poem."), "writer": says("O moon!")})
    stage = Stage(endpoint)
    with anyio.fail_after(10):
        first = await stage.hand_over("researcher", "writer")
        story = stage.screen.story()
        stage.begin_anew()
        again = await stage.hand_over("researcher", "writer")
    assert (again, stage.screen.story(), len(fake.calls)) == (first, story, 2)


@pytest.mark.parametrize("mode", ["discuss", "hand_over"])
async def test_cancelling_closes_the_connection_to_the_model(
    fake: ScriptedModel, endpoint: Endpoint, mode: str
) -> None:
    fake.reply = Script(says={"researcher": says("a", "b", hold_after=(1, anyio.Event()))})
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(getattr(Stage(endpoint), mode), "researcher", "writer")
            await fake.wait_for(lambda: bool(fake.calls) and fake.calls[0].tokens_sent == 1)
            tasks.cancel_scope.cancel()
        await fake.settled()
    assert (fake.hangups, len(fake.calls)) == (1, 1)

"""Agents who pass a task on: who has it, what is shown, what a pause leaves, and what stops them."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows.desk import Paused
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.tools.toolbox import open_toolbox
from tests.workflows.stage import Stage, asking, in_order, prompts
from tests.workflows.team import Screen, Script, says, turn

_TYPE = StreamEventType


def passing_on(target: str, *tokens: str) -> Reply:
    return says(*tokens, tool_calls=[(f"handoff_to_{target}", "{}")])


def handoffs(screen: Screen) -> list[dict[str, Any]]:
    return [e.data or {} for e in screen.of(_TYPE.ORCHESTRATOR_THOUGHT) if e.kind == "handoff"]


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

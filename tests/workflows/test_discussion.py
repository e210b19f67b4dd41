"""Agents who talk to each other: who speaks when, what is shown, what a pause leaves, and what stops them."""

import json
from collections.abc import Callable

import anyio
import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.workflows.desk import Paused
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.tools.toolbox import open_toolbox
from tests.workflows.stage import Stage, asking, floor, in_order, prompts
from tests.workflows.team import Script, says

_TYPE = StreamEventType


def chaired(script: Script, *speakers: str) -> Callable[[Body], Reply]:
    """The script, and a model in the chair that names these speakers, one after the other."""
    names = iter(speakers)

    def reply(body: Body) -> Reply:
        return says(json.dumps({"speaker": next(names)})) if asks_for_a_speaker(body) else script(body)

    return reply


def asks_for_a_speaker(body: Body) -> bool:
    wanted = body.get("response_format")
    return wanted is not None and "speaker" in wanted["json_schema"]["schema"]["properties"]


def has_the_floor(agent: str) -> list[str]:
    """The story of one contribution to a discussion."""
    steps = [f"agent.{step} {agent}" for step in ("start", "delta", "output", "complete")]
    return ["orchestrator.thought discussion", *steps]


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

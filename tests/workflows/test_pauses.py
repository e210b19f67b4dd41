"""People in the loop, over real HTTP: a run pauses, goes on with the answer, and tells and does nothing twice."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed, StoreFailed
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.workflows.endpoint import Endpoint
from tests.workflows.team import (
    PAID,
    Notebook,
    Screen,
    Script,
    answered,
    assert_told_once,
    decision,
    finished,
    fleet_over,
    paused,
    paying_fleet,
    plan,
    resumed,
    says,
    speaker,
    turn,
)

_TYPE = StreamEventType
PAY = [("pay", '{"amount": 7}')]


class Payers(Script):
    """The agents in `does` first say a word and call their tools, then answer with what the last tool told them."""

    does: Mapping[str, Any] = {}

    def __call__(self, body: Body) -> Reply:
        if decision(body) or speaker(body) not in self.does:
            return super().__call__(body)
        if body["messages"][-1]["role"] == "tool":
            told = [message["content"] for message in body["messages"] if message["role"] == "tool"]
            return says("Done", ": ", "; ".join(told))
        return says("Well. ", tool_calls=self.does[speaker(body)])


def payers(planned: dict[str, Any], **does: Any) -> Payers:
    script = Payers(plan=planned, says={"writer": says("All", " told.")} if "writer" not in does else {})
    script.does = does
    return script


def bodies(fake: ScriptedModel) -> list[str]:
    return [json.dumps(call.body, sort_keys=True) for call in fake.calls]


async def test_a_tool_call_waits_for_approval_and_the_log_simply_goes_on(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = payers(plan("delegated", "analyst"), analyst=PAY)
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            (request,) = pause.requests
            assert request.request_type == "ToolApproval"
            assert PAID == []
            before = len(screen.events)
            result = await finished(fleet, answered(first, pause, True), screen)
    assert PAID == [7]
    assert result.text == screen.text() == "Well. Done: paid 7"
    assert Screen(screen.events[before:]).story()[:6] == [
        "tool.call analyst",
        "tool.result analyst",
        "response.delta analyst",
        "agent.output analyst",
        "agent.complete analyst",
        "orchestrator.thought execution",
    ]
    assert_told_once(screen)
    assert len(bodies(fake)) == len(set(bodies(fake))) == 4  # plan, two by the analyst, assessment


async def test_thoughts_before_a_pause_are_completed_once(fake: ScriptedModel, endpoint: Endpoint) -> None:
    def reply(body: Body) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return says("Paid.")
        return Reply(reasoning=["Seven", " it is."], tool_calls=PAY)

    fake.reply = reply
    screen, first = Screen(), turn(mode="fast", memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            await finished(fleet, answered(first, pause, True), screen)
    assert [event.reasoning for event in screen.of(_TYPE.REASONING_COMPLETED)] == ["Seven it is."]


async def test_a_declined_call_is_not_made_and_the_agent_is_told(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = payers(plan("delegated", "analyst"), analyst=PAY)
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            result = await finished(fleet, answered(first, pause, {"approved": False, "comment": "too much"}), screen)
    assert PAID == []
    assert "declined" in result.text
    assert "too much" in result.text
    assert_told_once(screen)


async def test_in_sequence_the_second_agent_pauses_and_the_first_does_not_work_again(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = payers(plan("sequential", "analyst", "coder", "writer"), coder=PAY)
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            result = await finished(fleet, answered(first, pause, "yes"), screen)
    assert result.text == screen.text() == "All told."
    assert screen.text(_TYPE.AGENT_DELTA, "coder") == "Well. Done: paid 7"
    assert_told_once(screen)
    assert len(bodies(fake)) == len(set(bodies(fake))) == 6


async def test_in_parallel_an_agent_that_waits_does_not_stop_its_siblings(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    script = payers(plan("parallel", "analyst", "researcher", "coder"), analyst=PAY)
    script.says["coder"] = Reply(status=400)
    fake.reply = script
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            assert {e.agent_id for e in screen.of(_TYPE.AGENT_COMPLETE)} == {"researcher", "coder"}
            result = await finished(fleet, answered(first, pause, True), screen)
    assert result.text == screen.text() == "All told."
    assert screen.thought("execution")["agents"] == ["analyst", "researcher"]
    assert list(screen.thought("execution")["failed"]) == ["coder"]
    assert_told_once(screen)
    assert len(bodies(fake)) == len(set(bodies(fake))) == 7  # also the coder's, which failed, is not tried again


async def test_all_that_parallel_agents_want_to_know_is_asked_at_once(fake: ScriptedModel, endpoint: Endpoint) -> None:
    ask = [("ask_user", '{"question": "Which harbour?"}')]
    fake.reply = payers(plan("parallel", "analyst", "researcher", "coder"), coder=ask, analyst=[*PAY, *ask])
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            kinds = [(request.request_type, request.request["agent"]) for request in pause.requests]
            assert sorted(kinds) == [("ToolApproval", "analyst"), ("UserInput", "analyst"), ("UserInput", "coder")]
            given = [True if request.request_type == "ToolApproval" else "Kiel" for request in pause.requests]
            result = await finished(fleet, answered(first, pause, *given), screen)
    assert result.text == "All told."
    assert screen.text(_TYPE.AGENT_DELTA, "analyst") == "Well. Done: paid 7; Kiel"
    assert screen.text(_TYPE.AGENT_DELTA, "coder") == "Well. Done: Kiel"
    assert_told_once(screen)
    assert len(bodies(fake)) == len(set(bodies(fake)))


async def test_a_turn_without_the_answer_asks_the_same_again_and_says_nothing(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = payers(plan("delegated", "analyst"), analyst=PAY)
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            told, calls = list(screen.events), len(fake.calls)
            unanswered = replace(answered(first, pause, True), answers={})
            assert await paused(fleet, unanswered, screen) == pause
    assert screen.events == told
    assert len(fake.calls) == calls


async def test_readers_who_begin_anew_are_told_all_that_was_said_before_the_pause(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = payers(plan("sequential", "researcher", "analyst"), analyst=PAY)
    first, screen = turn(memory=Notebook()), Screen()
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, Screen())
            goes_on = answered(first, pause, True)
            assert goes_on.checkpoint
            result = await finished(fleet, resumed(goes_on, at=goes_on.checkpoint), screen)
    assert result.text == screen.text() == "Well. Done: paid 7"
    assert [e.agent_id for e in screen.of(_TYPE.AGENT_START)] == ["researcher", "analyst"]
    assert screen.text(_TYPE.AGENT_DELTA, "researcher")
    assert len(bodies(fake)) == len(set(bodies(fake)))


async def test_the_same_call_in_the_second_round_is_another_question(fake: ScriptedModel, endpoint: Endpoint) -> None:
    script = payers(plan("delegated", "analyst"), analyst=PAY)
    script.assessment = {"verdict": "refine", "score": 3, "missing": "More."}
    fake.reply = script
    screen, first = Screen(), turn(memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            one = await paused(fleet, first, screen)
            second = answered(first, one, True)
            two = await paused(fleet, second, screen)
            assert two.requests[0].request_id != one.requests[0].request_id
            await finished(fleet, answered(second, two, False), screen)
    assert PAID == [7]
    assert "declined" in screen.of(_TYPE.AGENT_OUTPUT)[1].message  # type: ignore[operator]  # it has one


async def test_a_store_that_fails_under_a_tool_comes_out_as_what_it_is(fake: ScriptedModel, endpoint: Endpoint) -> None:
    class Failing(Notebook):
        async def keep_step(self, key: str, value: bytes) -> None:
            if "/tool:" in key:
                raise StoreFailed("The disk is full.")

    fake.reply = payers(plan("delegated", "analyst"), analyst=PAY)
    first = turn(memory=Failing())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, Screen())
            with pytest.raises(StoreFailed, match="disk is full"):
                await fleet.run(answered(first, pause, True), Screen())


@pytest.mark.parametrize(("second", "paid"), [(True, [7, 7]), (False, [7])])
async def test_the_same_call_in_an_agents_second_part_is_another_call(
    fake: ScriptedModel, endpoint: Endpoint, second: bool, paid: list[int]
) -> None:
    fake.reply = payers(plan("sequential", "analyst", "coder"), analyst=PAY)
    screen, now = Screen(), turn(mode="discussion", memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint, discussion_rounds=3) as fleet:
            for answer in (True, second):
                now = answered(now, await paused(fleet, now, screen), answer)
            await finished(fleet, now, screen)
    assert PAID == paid
    said = [event.message or "" for event in screen.of(_TYPE.AGENT_OUTPUT) if event.agent_id == "analyst"]
    assert ["paid 7" in text for text in said] == [True, second]


@pytest.mark.parametrize("leaves_out", [("index",), ("id",), ("index", "id")])
async def test_a_server_that_numbers_no_calls_has_them_made_once_each(
    fake: ScriptedModel, endpoint: Endpoint, leaves_out: Any
) -> None:
    def reply(body: Body) -> Reply:
        match sum(message["role"] == "tool" for message in body["messages"]):
            case 0:
                return says(tool_calls=[("pay", '{"amount": 1}'), ("pay", '{"amount": 2}')], leaves_out=leaves_out)
            case 2:
                return says(tool_calls=[("ask_user", '{"question": "Why?"}')], leaves_out=leaves_out)
        return says("Done.")

    fake.reply = reply
    now = turn(mode="fast", memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            for answers in ((True, True), ("So.",)):
                now = answered(now, await paused(fleet, now, Screen()), *answers)
            await finished(fleet, now, Screen())
    assert sorted(PAID) == [1, 2]
    assert len(fake.calls) == 3


async def test_a_call_that_was_made_when_the_run_was_cancelled_is_not_made_again(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    class Cancelling(Notebook):
        async def keep_step(self, key: str, value: bytes) -> None:
            if "/tool:" in key and not scope.cancel_called:
                scope.cancel()
                await anyio.sleep_forever()
            await super().keep_step(key, value)

    fake.reply = payers(plan("delegated", "analyst"), analyst=PAY)
    first = turn(memory=Cancelling())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            second = answered(first, await paused(fleet, first, Screen()), True)
            with anyio.CancelScope() as scope:
                await fleet.run(second, Screen())
            assert second.checkpoint
            result = await finished(fleet, resumed(second, at=second.checkpoint), Screen())
    assert PAID == [7]
    assert result.text == "Well. Done: paid 7"


async def test_a_store_that_fails_under_a_tool_of_one_of_several_agents_comes_out_as_what_it_is(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    class Failing(Notebook):
        async def keep_step(self, key: str, value: bytes) -> None:
            if "/tool:" in key:
                raise StoreFailed("The disk is full.")
            await super().keep_step(key, value)

    fake.reply = payers(plan("parallel", "analyst", "coder"), analyst=PAY)
    first = turn(memory=Failing())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, Screen())
            with pytest.raises(StoreFailed, match="disk is full"):
                await fleet.run(answered(first, pause, True), Screen())


async def test_a_store_that_fails_under_a_decision_ends_the_run(fake: ScriptedModel, endpoint: Endpoint) -> None:
    class Failing(Notebook):
        async def keep_step(self, key: str, value: bytes) -> None:
            if "analysis.1/model:" in key:
                raise StoreFailed("The disk is full.")

    fake.reply = Script(plan=plan("delegated", "writer"))
    with anyio.fail_after(10), pytest.raises(StoreFailed, match="disk is full"):
        await fleet_over(endpoint).run(turn(memory=Failing()), Screen())


async def test_a_model_that_calls_tools_for_ever_has_not_answered(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says(tool_calls=[("pay", '{"amount": "much"}')])
    screen = Screen()
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            with pytest.raises(ModelFailed, match="said nothing"):
                await fleet.run(turn(mode="fast"), screen)
    assert screen.text() == ""


async def test_arguments_too_deep_to_be_read_are_the_failure_of_one_agent(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    deep = '{"a": ' * 50_000 + "1" + "}" * 50_000  # the limit depends on the version of Python
    fake.reply = payers(plan("parallel", "analyst", "coder"), analyst=[("pay", deep)])
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            screen = Screen()
            result = await finished(fleet, turn(), screen)
    assert result.text == "All told."
    assert list(screen.thought("execution")["failed"]) == ["analyst"]


async def test_an_agent_that_failed_in_a_handoff_is_not_tried_again_after_a_pause(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    coders = iter([Reply(status=400), says("Back again.")])

    def reply(body: Body) -> Reply:
        if decision(body):
            return Script(plan=plan("sequential", "analyst", "coder"))(body)
        match speaker(body):
            case "analyst":
                return says("Mine.", tool_calls=[("handoff_to_coder", "{}")])
            case "coder":
                return next(coders)
        asked = body["messages"][-1]["role"] != "tool"
        return says("W", tool_calls=[("ask_user", '{"question": "Why?"}')]) if asked else says("ritten.")

    fake.reply = reply
    screen, first = Screen(), turn(mode="handoff", memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            result = await finished(fleet, answered(first, pause, "So."), screen)
    assert (result.agent_id, result.text) == ("writer", "Written.")
    assert screen.text() == "Written."
    assert next(coders).tokens == ("Back again.",)


async def test_an_agent_that_had_failed_and_now_asks_gets_its_answer(fake: ScriptedModel, endpoint: Endpoint) -> None:
    script = payers(plan("parallel", "analyst", "coder"), analyst=PAY)
    memory, screen = Notebook(), Screen()
    first = turn(memory=memory)
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            fake.reply = lambda body: (
                Reply(status=400) if not decision(body) and speaker(body) == "analyst" else script(body)
            )
            await finished(fleet, first, Screen())
            fake.reply = script
            again = resumed(first, at=memory.before("execution"))
            pause = await paused(fleet, again, screen)
            memory.kept = {again.checkpoint.checkpoint_id: again.checkpoint} if again.checkpoint else {}
            await finished(fleet, answered(again, pause, True), screen)
    assert PAID == [7]
    assert screen.thought("execution")["failed"] == {}

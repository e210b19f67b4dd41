"""What every tool call passes through: approval, journal, events, time limit, cuts."""

import json
import logging
from typing import Any

import anyio
import pytest
from agent_framework import Agent, MiddlewareFailure

from agentic_fleet.errors import StoreFailed
from agentic_fleet.events import StreamEventType
from agentic_fleet.workflows.chat import CompletionsChatClient
from agentic_fleet.workflows.tools import gate
from agentic_fleet.workflows.tools.spec import ToolSpec
from tests.faults.table import row
from tests.workflows.tools import samples
from tests.workflows.tools.play import AGENT, Scripted, opened, spec, stage

CALL, RESULT = StreamEventType.TOOL_CALL, StreamEventType.TOOL_RESULT
ASK_USER = ToolSpec(name="ask_user")


async def test_a_call_is_told_run_and_its_result_given_to_the_model() -> None:
    async with stage([("note", {"text": "a"})], "done", note=spec("note")) as at:
        assert await at.turn() == "done"
        assert at.story() == ["tool.call note", "tool.result note"]
        call, result = at.events
        assert call.agent_id == call.author == AGENT
        assert call.data == {"tool": "note", "arguments": {"text": "a"}, "call_id": "call_0_0"}
        assert result.data == {"tool": "note", "call_id": "call_0_0", "result": "noted a"}
        assert result.error is None
        assert at.model.told() == ["noted a"]


async def test_an_async_function_gives_its_result_as_json() -> None:
    async with stage([("later", {"text": "a"})], "done", later=spec("later")) as at:
        await at.turn()
        assert json.loads(at.model.told()[0]) == {"noted": "a"}


async def test_a_tool_runs_once_over_two_turns() -> None:
    async with stage([("note", {"text": "a"})], "done", note=spec("note")) as at:
        await at.turn()
        assert await at.turn() == "done"
        assert samples.runs == [("a", 1)]
        assert len(at.model.bodies) == 2
        assert at.events == []
        assert at.part and not at.part.live


async def test_a_kept_result_is_told_again_to_readers_that_begin_anew() -> None:
    async with stage([("note", {"text": "a"})], "done", note=spec("note")) as at:
        await at.turn()
        first = at.events
        await at.turn(retell=True)
        assert at.events == first
        assert samples.runs == [("a", 1)]
        assert at.part and not at.part.live


async def test_equal_calls_are_different_steps() -> None:
    async with stage([("note", {"text": "a"})], [("note", {"text": "a"})], "done", note=spec("note")) as at:
        await at.turn()
        await at.turn()
        assert samples.runs == [("a", 1), ("a", 1)]


async def test_an_approval_pauses_and_the_approved_call_runs_in_the_next_turn() -> None:
    async with stage([("note", {"text": "a"})], "done", note=spec("note", approval=True)) as at:
        (request,) = await at.paused()
        assert request.request_type == "ToolApproval"
        assert request.request == {"tool": "note", "arguments": {"text": "a"}, "agent": AGENT}
        assert samples.runs == [] and at.events == []
        assert await at.paused() == (request,)
        assert await at.turn({request.request_id: {"approved": True}}) == "done"
        assert at.story() == ["tool.call note", "tool.result note"]
        assert at.live == [True, True]  # although the model's answer came from the journal
        assert samples.runs == [("a", 1)]
        assert await at.turn({request.request_id: {"approved": True}}) == "done"
        assert samples.runs == [("a", 1)]
        assert len(at.model.bodies) == 2


@pytest.mark.parametrize(
    "answer", ["no, use the other account", {"approved": False, "comment": "no, use the other account"}]
)
async def test_a_declined_call_is_not_made_and_the_model_hears_why(answer: Any) -> None:
    async with stage([("note", {"text": "a"})], "sorry", note=spec("note", approval=True)) as at:
        (request,) = await at.paused()
        assert await at.turn({request.request_id: answer}) == "sorry"
        assert samples.runs == []
        (told,) = at.model.told()
        assert "declined" in told and "no, use the other account" in told


async def test_the_users_answer_is_the_result_of_ask_user() -> None:
    async with stage([("ask_user", {"question": "Which?"})], "done", ask_user=ASK_USER) as at:
        (request,) = await at.paused()
        assert request.request_type == "UserInput"
        assert request.request == {"question": "Which?", "agent": AGENT}
        await at.turn({request.request_id: "the red one"})
        assert at.model.told() == ["the red one"]
        assert at.events == []


async def test_an_answer_that_is_not_text_reaches_the_model_as_json() -> None:
    async with stage([("ask_user", {"question": "Which?"})], "done", ask_user=ASK_USER) as at:
        (request,) = await at.paused()
        await at.turn({request.request_id: {"colour": "red"}})
        assert at.model.told() == ['{"colour":"red"}']


async def test_of_parallel_calls_one_pauses_and_the_others_finish() -> None:
    calls = [("note", {"text": "a"}), ("ask_user", {"question": "Which?"}), ("later", {"text": "b"})]
    tools = {"note": spec("note"), "later": spec("later"), "ask_user": ASK_USER}
    async with stage(calls, "done", **tools) as at:
        (request,) = await at.paused()
        assert sorted(map(str, samples.runs)) == ["('a', 1)", "b"]
        assert sorted(at.story()) == ["tool.call later", "tool.call note", "tool.result later", "tool.result note"]
        assert len(at.model.bodies) == 1
        assert await at.turn({request.request_id: "red"}) == "done"
        assert len(samples.runs) == 2
        assert at.events == []
        assert at.model.told() == ["noted a", "red", '{"noted": "b"}']


async def test_two_questions_of_one_answer_are_asked_together() -> None:
    calls = [("ask_user", {"question": "Which?"}), ("ask_user", {"question": "Why?"})]
    async with stage(calls, "done", ask_user=ASK_USER) as at:
        first, second = await at.paused()
        assert (first.request["question"], second.request["question"]) == ("Which?", "Why?")
        assert await at.paused({first.request_id: "red"}) == (second,)
        assert await at.turn({first.request_id: "red", second.request_id: "so"}) == "done"
        assert at.model.told() == ["red", "so"]


async def test_a_tool_that_takes_too_long_is_stopped_and_the_model_told() -> None:
    async with stage([("forever", {})], "done", forever=spec("forever", timeout=0.05)) as at:
        with anyio.fail_after(5):
            assert await at.turn() == "done"
        (told,) = at.model.told()
        assert told == "Error: forever took longer than 0.05 s and was stopped."
        assert at.events[-1].error == "forever took longer than 0.05 s and was stopped."


@row(20, 65)
async def test_a_function_that_blocks_does_not_block_the_loop_and_its_late_result_is_dropped() -> None:
    async with stage([("block", {})], "done", block=spec("block", timeout=0.05)) as at:
        with anyio.fail_after(5):
            assert await at.turn() == "done"
        assert samples.blocked.is_set() and not samples.freed.is_set()
        samples.gate.set()
        assert samples.freed.wait(5)
        await anyio.lowlevel.checkpoint()
        assert "too late" not in str(at.events) + str(at.model.bodies)
        assert at.story() == ["tool.call block", "tool.result block"]


async def test_a_failure_in_the_tools_own_words_is_a_result_and_kept() -> None:
    async with stage([("refuse", {})], "done", refuse=spec("refuse")) as at:
        await at.turn()
        assert at.model.told() == ["Error: The well is dry."]
        assert at.events[-1].error == "The well is dry."
        assert at.events[-1].data == {"tool": "refuse", "call_id": "call_0_0"}
        await at.turn()
        assert len(at.model.bodies) == 2


async def test_an_unexpected_exception_is_named_but_not_quoted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with stage([("crash", {})], "done", crash=spec("crash")) as at:
            await at.turn()
    assert at.model.told() == ["Error: crash failed (ValueError)."]
    assert "hunter2" not in str(at.events) + caplog.text
    assert "tool crash failed: ValueError" in caplog.text


@row(23)
async def test_a_tool_cannot_end_the_process() -> None:
    async with stage([("leave", {})], "done", leave=spec("leave")) as at:
        assert await at.turn() == "done"
        assert at.model.told() == ["Error: leave failed (RuntimeError)."]


async def test_arguments_that_are_not_valid_reach_neither_the_tool_nor_the_human() -> None:
    async with stage([("note", {"times": "many"})], "done", note=spec("note", approval=True)) as at:
        assert await at.turn() == "done"
        (told,) = at.model.told()
        assert told.startswith("Error: The arguments are not valid:") and "text: Field required" in told
        assert samples.runs == []


async def test_long_results_are_cut_for_readers_and_less_so_for_the_model() -> None:
    async with stage([("long", {})], "done", long=spec("long")) as at:
        await at.turn()
        (result,) = at.of(RESULT)
        (told,) = at.model.told()
        assert len(result["result"]) == gate.FOR_EVENT
        assert len(told) == gate.FOR_MODEL
        assert told.endswith("[cut; 50000 characters in all]")


async def test_long_arguments_are_cut_for_readers_only() -> None:
    text = "y" * 5_000
    async with stage([("note", {"text": text})], "done", note=spec("note")) as at:
        await at.turn()
        (call,) = at.of(CALL)
        assert isinstance(call["arguments"], str) and len(call["arguments"]) == gate.FOR_EVENT
        assert samples.runs == [(text, 1)]


async def test_numbers_beyond_all_bounds_do_not_end_the_run() -> None:
    async with stage([("note", {"text": "a", "times": 10**30})], "done", note=spec("note")) as at:
        await at.turn()
        assert at.of(CALL)[0]["arguments"]["times"] == str(10**30)
        assert samples.runs == [("a", 10**30)]


async def test_a_store_that_fails_ends_the_run_with_its_own_error_as_the_cause() -> None:
    async with stage([("note", {"text": "a"})], "done", note=spec("note")) as at:
        at.memory.broken = True
        with pytest.raises(MiddlewareFailure) as failure:
            await at.turn()
        assert isinstance(failure.value.__cause__, StoreFailed)
        assert len(at.model.bodies) == 1


async def test_cancelling_a_run_cancels_its_tool() -> None:
    async with stage([("forever", {})], "done", forever=spec("forever")) as at:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(at.turn)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        assert at.story() == ["tool.call forever"]


async def test_outside_a_run_tools_work_but_nobody_can_be_asked() -> None:
    model = Scripted([("note", {"text": "a"}), ("ask_user", {"question": "?"}), ("later", {"text": "b"})], "done")
    async with opened(spec("note", approval=True), ASK_USER, spec("later")) as toolbox:
        tools = toolbox.of(["note", "ask_user", "later"])
        agent = Agent(CompletionsChatClient(model), tools=tools, middleware=[toolbox.gate])
        await agent.run("go")
    assert model.told() == [f"Error: {gate.NOBODY}", f"Error: {gate.NOBODY}", '{"noted": "b"}']
    assert samples.runs == ["b"]


async def test_functions_of_others_pass_untouched() -> None:
    def theirs() -> str:
        """Somebody else's."""
        return "theirs"

    model = Scripted([("theirs", {})], "done")
    async with opened() as toolbox:
        await Agent(CompletionsChatClient(model), tools=[theirs], middleware=[toolbox.gate]).run("go")
    assert model.told() == ["theirs"]

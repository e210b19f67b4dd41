"""Responses, through the official client: the events in their order, and going on from an earlier response."""

from typing import Any

import anyio
import pytest
from openai import BadRequestError, ConflictError
from openai.types.responses import ResponseStreamEvent, ResponseUsage

from agentic_fleet.turns import Emit, Result, Turn
from tests.script import Paced, echo, token
from tests.web.door.guest import guest
from tests.web.door.test_chat import COST, priced
from tests.web.site import Site, site

BEFORE = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
AFTER = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def said(turn: Turn) -> list[str]:
    return [message.content for message in turn.history]


async def conversation_of(it: Site, response_id: str) -> str:
    return (await it.runs.state(response_id.removeprefix("resp_"))).conversation_id


async def test_a_response_is_a_run() -> None:
    async with site() as it:
        client = guest(it)
        raw = await client.responses.with_raw_response.create(
            model="fleet", input="one two", instructions="Be brief.", metadata={"chat": "1"}
        )
        response, run_id = raw.parse(), raw.headers["x-run-id"]
        assert (await it.get(f"/api/v1/runs/{run_id}"))["status"] == "completed"
        assert (response.id, response.object, response.status) == (f"resp_{run_id}", "response", "completed")
        assert (response.output_text, response.model) == ("one two ", "fleet")
        assert (response.instructions, response.metadata, response.error) == ("Be brief.", {"chat": "1"}, None)
        assert (response.tools, response.parallel_tool_calls, response.usage) == ([], False, None)
        assert it.script.turns[0].ask.instructions == "Be brief."


async def test_the_events_of_a_stream_come_in_order_and_are_numbered() -> None:
    async with site() as it:
        client = guest(it)
        stream = await client.responses.create(model="fleet", input="one two", stream=True)
        events: list[ResponseStreamEvent] = [event async for event in stream]
        assert [event.type for event in events] == [*BEFORE, *["response.output_text.delta"] * 2, *AFTER]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        first, last = events[0], events[-1]
        assert first.type == "response.created" and last.type == "response.completed"
        assert (first.response.status, first.response.output) == ("in_progress", [])
        assert last.response.output_text == "one two "
        assert first.response.id == last.response.id == f"resp_{stream.response.headers['x-run-id']}"
        items = {getattr(event, "item_id", last.response.output[0].id) for event in events}
        assert len(items) == 1


async def test_the_clients_own_streaming_interface_puts_the_response_together() -> None:
    async with site() as it:
        client = guest(it)
        async with client.responses.stream(model="fleet", input="one two") as stream:
            heard = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
            final = await stream.get_final_response()
        assert heard == ["one ", "one two "]
        assert final.output_text == "one two "


async def test_every_frame_is_named_after_its_event() -> None:
    async with site() as it:
        body = {"model": "fleet", "input": "a\u2028b", "stream": True}
        answered = await it.http.post("/v1/responses", json=body)
        assert answered.content.isascii()
        for frame in answered.text.split("\n\n")[:-1]:
            name, data = frame.split("\n")
            assert data.startswith(f'data: {{"type":"{name.removeprefix("event: ")}"')


async def test_what_it_cost_is_told_when_it_is_known() -> None:
    async with site(priced) as it:
        client = guest(it)
        usage = (await client.responses.create(model="fleet", input="hi")).usage
        assert isinstance(usage, ResponseUsage)
        assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (20, 5, 25)
        assert usage.input_tokens_details.cached_tokens == COST.cached_tokens


async def test_a_run_that_fails_in_mid_answer_ends_as_a_failed_response() -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        await emit(token("Well, "))
        raise RuntimeError("secret")

    async with site(act) as it:
        client = guest(it)
        stream = await client.responses.create(model="fleet", input="hi", stream=True)
        *_, last = [event async for event in stream]
        assert last.type == "response.failed"
        assert last.response.status == "failed" and last.response.error
        assert last.response.error.message == "The run failed unexpectedly."


async def test_input_may_be_a_conversation_with_what_an_earlier_response_had_in_it() -> None:
    items: Any = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "first"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None},
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "42"},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "second", "annotations": []}],
        },
        {"role": "user", "content": "third"},
    ]
    async with site() as it:
        client = guest(it)
        await client.responses.create(model="fleet", input=items)
        (turn,) = it.script.turns
        assert (turn.ask.message, turn.ask.instructions) == ("third", "Be brief.")
        assert said(turn) == ["first", "second"]


async def test_a_previous_response_is_gone_on_from_in_its_conversation() -> None:
    async with site() as it:
        client = guest(it)
        first = await client.responses.create(model="fleet", input="one")
        second = await client.responses.create(model="fleet", input="two", previous_response_id=first.id)
        third = await client.responses.create(model="fleet", input="three", previous_response_id=second.id)
        assert second.previous_response_id == first.id
        assert said(it.script.turns[-1]) == ["one", "one ", "two", "two "]
        assert len({await conversation_of(it, each.id) for each in (first, second, third)}) == 1


async def test_a_branch_gets_a_conversation_of_its_own_with_what_was_said_up_to_there() -> None:
    async with site() as it:
        client = guest(it)
        first = await client.responses.create(model="fleet", input="one")
        await client.responses.create(model="fleet", input="two", previous_response_id=first.id)
        branch = await client.responses.create(model="fleet", input="other", previous_response_id=first.id)
        again = await client.responses.create(model="fleet", input="more", previous_response_id=branch.id)
        assert said(it.script.turns[-2]) == ["one", "one "]
        assert said(it.script.turns[-1]) == ["one", "one ", "other", "other "]
        places = [await conversation_of(it, each.id) for each in (first, branch, again)]
        assert places[0] != places[1] == places[2]
        kept = await it.store.messages(places[0], limit=9)
        assert [message.content for message in kept] == ["one", "one ", "two", "two "]


async def test_many_may_go_on_from_the_same_response_at_once() -> None:
    async with site() as it:
        client = guest(it)
        first = await client.responses.create(model="fleet", input="one")
        heard: list[str] = []

        async def go_on(number: int) -> None:
            response = await client.responses.create(
                model="fleet", input=f"number {number}", previous_response_id=first.id
            )
            heard.append(response.output_text)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(go_on, number)
        assert sorted(heard) == [f"number {number} " for number in range(10)]
        assert all(said(turn) == ["one", "one "] for turn in it.script.turns[1:])


async def test_a_run_of_the_services_own_api_can_be_gone_on_from() -> None:
    async with site() as it:
        run = await it.finished("one")
        response = await guest(it).responses.create(
            model="fleet", input="two", previous_response_id=f"resp_{run['run_id']}"
        )
        assert await conversation_of(it, response.id) == run["conversation_id"]


@pytest.mark.parametrize("previous", ["resp_nobody", "resp_", "", "nobody", "resp_\u2028 x", "resp_" + "x" * 999])
async def test_a_previous_response_that_is_not_there_is_refused(previous: str) -> None:
    async with site() as it:
        with pytest.raises(BadRequestError) as caught:
            await guest(it).responses.create(model="fleet", input="hi", previous_response_id=previous)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_a_response_that_is_still_being_made_cannot_be_gone_on_from() -> None:
    async with site(script := Paced()) as it:
        client = guest(it)
        stream = await client.responses.create(model="fleet", input="hi", stream=True)
        run_id = stream.response.headers["x-run-id"]
        with pytest.raises(ConflictError) as caught:
            await client.responses.create(model="fleet", input="and?", previous_response_id=f"resp_{run_id}")
        assert caught.value.code == "response_in_progress"
        script.step("x")
        script.finish()
        assert [event.type async for event in stream][-1] == "response.completed"


async def test_everything_is_kept_and_the_response_says_so() -> None:
    async with site(echo) as it:
        client = guest(it)
        response = await client.responses.create(model="fleet", input="one", store=False)
        assert response.model_dump()["store"] is True
        await client.responses.create(model="fleet", input="two", previous_response_id=response.id)
        assert said(it.script.turns[-1]) == ["one", "one "]

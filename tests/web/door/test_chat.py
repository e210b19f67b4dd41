"""Chat completions, through the official client: what it hears, and what of its words reaches the team."""

import json
from typing import Any

import anyio
import pytest

from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Emit, Result, Turn, Usage
from tests.script import Paced, answer, token
from tests.web.door.guest import content, guest, user
from tests.web.site import site

COST = Usage(prompt_tokens=20, completion_tokens=5, cached_tokens=8, reasoning_tokens=2)


async def priced(turn: Turn, emit: Emit) -> Result:
    await emit(token("Hello."))
    return Result(text="Hello.", author="Writer", agent_id="writer", usage=COST)


async def thinking(turn: Turn, emit: Emit) -> Result:
    await emit(StreamEvent(type=StreamEventType.ORCHESTRATOR_THOUGHT, kind="routing", message="Writer: fast."))
    await emit(StreamEvent(type=StreamEventType.AGENT_START, agent_id="writer", message="Writes."))
    await emit(StreamEvent(type=StreamEventType.AGENT_DELTA, agent_id="writer", delta="a draft"))
    await emit(StreamEvent(type=StreamEventType.TOOL_CALL, agent_id="writer", data={"tool": "calculate"}))
    await emit(token("Hello."))
    return answer("Hello.")


async def test_an_answer_is_a_chat_completion_and_a_run_like_any_other() -> None:
    async with site() as it:
        client = guest(it)
        raw = await client.chat.completions.with_raw_response.create(model="fleet", messages=user("one two"))
        run = await it.get(f"/api/v1/runs/{raw.headers['x-run-id']}")
        assert (run["status"], run["task"]) == ("completed", "one two")
        assert [each["run_id"] for each in await it.get("/api/v1/runs")] == [run["run_id"]]
        completion = raw.parse()
        assert (completion.object, completion.model) == ("chat.completion", "fleet")
        assert completion.id == f"chatcmpl-{run['run_id']}"
        (choice,) = completion.choices
        assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "one two ", "stop")


async def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    async with site() as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("one two"), stream=True)
        chunks = [chunk async for chunk in stream]
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert (deltas[0].role, deltas[0].content) == ("assistant", "")
        assert [delta.content for delta in deltas[1:]] == ["one ", "two ", None]
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
        assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", "fleet")}
        assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1
        assert stream.response.headers["x-run-id"] == chunks[0].id.removeprefix("chatcmpl-")


async def test_tokens_arrive_when_they_are_said() -> None:
    async with site(script := Paced()) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        heard = [await anext(stream)]
        for text in ("a", "b", "c"):
            script.step(text)
            heard.append(await anext(stream))
        script.finish()
        assert content(heard) == "abc"
        assert [chunk.choices[0].finish_reason async for chunk in stream] == ["stop"]


async def test_the_clients_own_streaming_interface_puts_the_answer_together() -> None:
    async with site() as it:
        client = guest(it)
        async with client.chat.completions.stream(model="fleet", messages=user("one two")) as stream:
            kinds = [event.type async for event in stream]
            completion = await stream.get_final_completion()
        assert kinds.count("content.delta") == 3  # the first is the empty text that comes with the role
        assert completion.choices[0].message.content == "one two "


async def test_frames_are_events_of_one_line_and_end_with_done() -> None:
    hard = 'a\u2028b\u2029c\x85d\ne"f \U0001f600'
    async with site() as it:
        body = {"model": "fleet", "messages": user(hard), "stream": True}
        answered = await it.http.post("/v1/chat/completions", json=body)
        assert answered.headers["content-type"].startswith("text/event-stream")
        assert answered.content.isascii()
        *frames, done, rest = answered.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        assert all(frame.startswith("data: {") and frame.splitlines() == [frame] for frame in frames)
        said = [json.loads(frame[6:])["choices"][0]["delta"].get("content", "") for frame in frames]
        assert "".join(said) == f"{hard} "


async def test_half_an_emoji_from_a_model_breaks_no_stream() -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        await emit(token("a\ud83d"))
        return answer("a\ud83d")

    async with site(act) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        assert content([chunk async for chunk in stream]) == "a\ufffd"
        whole = await client.chat.completions.create(model="fleet", messages=user("hi"))
        assert whole.choices[0].message.content == "a\ufffd"


async def test_what_it_cost_is_told_when_it_is_known_and_wanted() -> None:
    async with site(priced) as it:
        client = guest(it)
        whole = await client.chat.completions.create(model="fleet", messages=user("hi"))
        stream = await client.chat.completions.create(
            model="fleet", messages=user("hi"), stream=True, stream_options={"include_usage": True}
        )
        *_, stop, bill = [chunk async for chunk in stream]
        assert (stop.choices[0].finish_reason, stop.usage, bill.choices) == ("stop", None, [])
        for usage in (whole.usage, bill.usage):
            assert usage and usage.prompt_tokens_details and usage.completion_tokens_details
            assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (20, 5, 25)
            assert usage.prompt_tokens_details.cached_tokens == 8
            assert usage.completion_tokens_details.reasoning_tokens == 2
        unasked = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        assert [chunk.usage async for chunk in unasked if chunk.usage] == []


async def test_no_cost_is_invented() -> None:
    async with site() as it:
        client = guest(it)
        assert (await client.chat.completions.create(model="fleet", messages=user("hi"))).usage is None
        stream = await client.chat.completions.create(
            model="fleet", messages=user("hi"), stream=True, stream_options={"include_usage": True}
        )
        assert [chunk.choices for chunk in [chunk async for chunk in stream] if not chunk.choices] == []


async def test_the_team_at_work_is_shown_as_reasoning_and_is_no_part_of_the_answer() -> None:
    async with site(thinking) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        chunks = [chunk async for chunk in stream]
        thoughts = [(chunk.choices[0].delta.model_extra or {}).get("reasoning_content") for chunk in chunks]
        assert [line for line in thoughts if line] == [
            "Writer: fast.\n",
            "writer: Writes.\n",
            "writer uses calculate.\n",
        ]
        assert content(chunks) == "Hello."


async def test_a_workflow_that_speaks_only_at_the_end_is_heard() -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        return answer("All at once.")

    async with site(act) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        assert content([chunk async for chunk in stream]) == "All at once."


async def test_silence_is_filled_with_comments() -> None:
    async with site(script := Paced(), heartbeat=0.05) as it:
        body = {"model": "fleet", "messages": user("hi"), "stream": True}
        async with it.http.stream("POST", "/v1/chat/completions", json=body) as answered:
            beats = 0
            async for line in answered.aiter_lines():
                if line == ": keep-alive":
                    beats += 1
                    if beats == 3:
                        script.step("now")
                        script.finish()
        assert beats >= 3
        assert line == ""


async def test_a_conversation_reaches_the_team_in_its_order() -> None:
    talk: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "My name is"}, {"type": "text", "text": "Ada."}]},
        {"role": "assistant", "content": None, "tool_calls": [], "reasoning_content": "hm"},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
        {"role": "assistant", "content": "Hello Ada.", "name": "x"},
        {"role": "developer", "content": "Speak French."},
        {"role": "user", "content": "Who am I?", "name": "ada"},
    ]
    async with site() as it:
        client = guest(it)
        raw = await client.chat.completions.with_raw_response.create(model="fleet", messages=talk)
        (turn,) = it.script.turns
        assert (turn.ask.message, turn.ask.instructions) == ("Who am I?", "Be brief.\n\nSpeak French.")
        said = [("user", "My name is\nAda."), ("assistant", "Hello Ada.")]
        assert [(message.role, message.content) for message in turn.history] == said
        run = await it.get(f"/api/v1/runs/{raw.headers['x-run-id']}")
        kept = (await it.get(f"/api/v1/conversations/{run['conversation_id']}"))["messages"]
        assert [(message["role"], message["content"]) for message in kept] == [
            *said,
            ("user", "Who am I?"),
            ("assistant", "Who am I? "),
        ]


async def test_a_resumed_run_still_knows_what_was_said_before_it() -> None:
    talk: list[Any] = [*user("first"), {"role": "assistant", "content": "second"}, *user("third")]
    async with site(Paced()) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=talk, stream=True)
        run_id = (await anext(stream)).id.removeprefix("chatcmpl-")
        await it.runs.cancel(run_id)
        assert (await it.http.post(f"/api/v1/runs/{run_id}/resume", json={})).status_code == 202
        await it.runs.cancel(run_id)
        for turn in it.script.turns:
            assert [message.content for message in turn.history] == ["first", "second"]
        await stream.close()


async def test_conversations_of_the_door_are_titled_and_stay_out_of_the_list() -> None:
    async with site() as it:
        client = guest(it)
        await client.chat.completions.create(model="fleet", messages=user("  Why\n is the sky blue? " + "x" * 99))
        assert await it.get("/api/v1/conversations") == []
        (run,) = await it.get("/api/v1/runs")
        title = (await it.get(f"/api/v1/conversations/{run['conversation_id']}"))["title"]
        assert title.startswith("Why is the sky blue? xx") and title.endswith("…") and len(title) == 60
        assert (await it.http.delete(f"/api/v1/conversations/{run['conversation_id']}")).status_code == 204
        assert await it.get("/api/v1/runs") == []


async def test_only_what_a_run_can_use_of_a_long_conversation_is_kept() -> None:
    talk = [{"role": role, "content": f"{place}"} for place in range(100) for role in ("user", "assistant")]
    async with site() as it:
        client = guest(it)
        messages: Any = [*talk, *user("and now?")]
        await client.chat.completions.create(model="fleet", messages=messages)
        (run,) = await it.get("/api/v1/runs")
        kept = (await it.get(f"/api/v1/conversations/{run['conversation_id']}"))["messages"]
        assert [message["content"] for message in kept][:2] == ["75", "75"]
        assert len(kept) == 52


@pytest.mark.parametrize(
    ("word", "effort"),
    [
        ("none", "minimal"),
        ("minimal", "minimal"),
        ("low", "minimal"),
        ("medium", "medium"),
        ("high", "maximal"),
        ("xhigh", "maximal"),
    ],
)
async def test_effort_is_translated(word: Any, effort: str) -> None:
    async with site() as it:
        client = guest(it)
        await client.chat.completions.create(model="fleet", messages=user("hi"), reasoning_effort=word)
        await client.responses.create(model="fleet", input="hi", reasoning={"effort": word})
        assert [turn.ask.reasoning_effort for turn in it.script.turns] == [effort, effort]


async def test_only_what_is_not_streamed_is_refined() -> None:
    async with site() as it:
        client = guest(it)
        await client.chat.completions.create(model="fleet", messages=user("hi"))
        async for _ in await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True):
            pass
        assert [turn.ask.refine for turn in it.script.turns] == [True, False]


async def test_what_real_clients_send_along_is_accepted() -> None:
    async with site() as it:
        client = guest(it)
        await client.chat.completions.create(
            model="fleet",
            messages=user("hi"),
            temperature=0.2,
            top_p=1,
            max_tokens=100,
            max_completion_tokens=100,
            presence_penalty=0,
            frequency_penalty=0,
            logit_bias={},
            seed=1,
            stop=["x"],
            n=1,
            user="someone",
            metadata={"chat": "1"},
            store=False,
            logprobs=False,
            tools=[],
            tool_choice="none",
            parallel_tool_calls=True,
            response_format={"type": "text"},
            modalities=["text"],
            service_tier="auto",
            extra_body={"chat_id": "x", "keep_alive": None, "options": {"num_ctx": 4096}, "stream_options": None},
        )
        assert [turn.ask.message for turn in it.script.turns] == ["hi"]


async def test_many_at_once_hear_their_own_answers() -> None:
    async with site() as it:
        client = guest(it)
        heard: dict[int, str] = {}

        async def one(number: int) -> None:
            messages = user(f"number {number}")
            stream = await client.chat.completions.create(model="fleet", messages=messages, stream=True)
            heard[number] = content([chunk async for chunk in stream])

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(one, number)
        assert heard == {number: f"number {number} " for number in range(30)}

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import anyio
import pytest
from agent_framework import Agent, Content, FunctionTool, Message, tool
from agent_framework.openai import OpenAIChatCompletionClient
from pydantic import BaseModel

from agentic_fleet.errors import Invalid, ModelFailed
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.workflows.chat import CompletionsChatClient, request_body
from agentic_fleet.workflows.completions import Chunk
from agentic_fleet.workflows.desk import playing
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.usage import Usage


class Script:
    """Completions in this process: the chunks it is given."""

    name = "script"
    constrained = True

    def __init__(self, *deltas: dict[str, Any]) -> None:
        self.deltas = deltas

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        for delta in self.deltas:
            yield {"choices": [{"delta": delta}]}
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@tool(name="add", description="Add two numbers.", approval_mode="never_require")
def add(a: int, b: int) -> str:
    return str(a + b)


def with_tools(endpoint: Endpoint) -> Agent:
    return Agent(CompletionsChatClient(endpoint), instructions="Be brief.", name="alpha", tools=[add])


def calls_add_first(body: Body) -> Reply:
    if body["messages"][-1]["role"] == "tool":
        results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        return Reply(tokens=["It is ", *results], usage=(30, 4))
    return Reply(tool_calls=[("add", '{"a": 2, "b": 3}'), ("add", '{"a": 20, "b": 30}')], usage=(20, 8))


REPLIES: dict[str, Callable[[Body], Reply]] = {
    "text": lambda body: Reply(tokens=["Hel", "lo"], usage=(11, 2)),
    "tools": calls_add_first,
    "cut short": lambda body: Reply(tokens=["Hel"], finish_reason="length"),
    "nothing": lambda body: Reply(),
}


async def outcome(agent: Agent, *, stream: bool) -> dict[str, Any]:
    """What an agent's user can see of an answer."""
    with anyio.fail_after(10):
        if stream:
            async with agent.run("2 + 3?", stream=True) as updates:
                streamed = "".join([update.text async for update in updates])
            response = await updates.get_final_response()
            assert streamed == response.text
        else:
            response = await agent.run("2 + 3?")
    contents = [content for message in response.messages for content in message.contents]
    return {
        "text": response.text,
        "roles": [message.role for message in response.messages if message.contents],
        "calls": [(c.name, json.loads(str(c.arguments))) for c in contents if c.type == "function_call"],
        "results": [content.result for content in contents if content.type == "function_result"],
        "finish_reason": response.finish_reason,
        "usage": response.usage_details,
    }


def essence(body: Body) -> Body:
    """What both clients have to send alike; for content, nothing and null mean the same."""
    messages = [{key: value for key, value in message.items() if value is not None} for message in body["messages"]]
    return {"messages": messages, "tools": body["tools"], "tool_choice": body.get("tool_choice")}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("name", REPLIES)
async def test_it_gives_an_agent_what_the_frameworks_own_client_gives(
    name: str, stream: bool, endpoint: Endpoint, fake: ScriptedModel
) -> None:
    fake.reply = REPLIES[name]
    ours = await outcome(with_tools(endpoint), stream=stream)
    half = len(fake.calls)
    client = OpenAIChatCompletionClient(model="m-1", api_key="secret", base_url=fake.base_url)
    async with client.client:
        theirs = await outcome(Agent(client, instructions="Be brief.", name="alpha", tools=[add]), stream=stream)
    assert ours == theirs
    assert [essence(call.body) for call in fake.calls[:half]] == [essence(call.body) for call in fake.calls[half:]]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept_apart_from_the_text(field: str, endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(reasoning=["hm", "m"], reasoning_field=field, tokens=["yes"])
    response = await with_tools(endpoint).run("really?")
    contents = [(content.type, content.text) for content in response.messages[0].contents]
    assert contents == [("text_reasoning", "hmm"), ("text", "yes")]


async def test_fragments_of_parallel_calls_may_interleave_and_lack_ids() -> None:
    def fragment(index: int | None, name: str | None, arguments: str, id: str | None = None) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}

    script = Script(
        fragment(0, "add", '{"a": 1,', "x"),
        fragment(1, "sub", '{"a": 2,'),
        fragment(0, None, "}"),
        fragment(1, None, "}"),
    )
    response = await CompletionsChatClient(script).get_response([Message("user", ["hi"])])
    calls = response.messages[0].contents
    assert [(call.name, call.arguments) for call in calls] == [("add", '{"a": 1,}'), ("sub", '{"a": 2,}')]
    assert calls[0].call_id == "x"
    assert calls[1].call_id


async def test_whole_calls_without_an_index_are_told_apart_by_their_ids() -> None:
    function = {"name": "add", "arguments": "{}"}
    script = Script(*({"tool_calls": [{"id": id, "function": function}]} for id in ("x", "y")))
    response = await CompletionsChatClient(script).get_response([Message("user", ["hi"])])
    assert [call.call_id for call in response.messages[0].contents] == ["x", "y"]


async def test_a_refusal_is_text() -> None:
    response = await CompletionsChatClient(Script({"refusal": "I must not."})).get_response([Message("user", ["hi"])])
    assert response.text == "I must not."


async def test_cached_and_thinking_tokens_are_counted() -> None:
    class Counted(Script):
        async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
            details = {
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 4},
            }
            for total in (7, 9):  # some servers tell the sum so far with every chunk
                yield {"usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": total, **details}}

    response = await CompletionsChatClient(Counted()).get_response([Message("user", ["hi"])])
    assert response.usage_details == {
        "input_token_count": 5,
        "output_token_count": 2,
        "total_token_count": 9,
        "cache_read_input_token_count": 3,
        "reasoning_output_token_count": 4,
    }


# words that are heard


class Listener:
    """Who hears the words of a part, and wants `enough` of them."""

    def __init__(self, enough: int = 100) -> None:
        self.enough = enough
        self.heard: list[tuple[str, str]] = []

    async def hear(self, thought: str, text: str) -> bool:
        self.heard.append((thought, text))
        return len(self.heard) < self.enough


async def updates(script: Script, listener: Listener) -> list[list[tuple[str, str | None]]]:
    """What the framework is given, update by update, up to the one with which the listener has had enough."""
    given: list[list[tuple[str, str | None]]] = []
    with playing("alpha", Usage(kept_counts=True)) as part:
        part.hear = listener.hear
        stream = CompletionsChatClient(script).get_response([Message("user", ["hi"])], stream=True)
        async for update in stream:
            given.append([(content.type, content.text or content.name) for content in update.contents])
            if len(listener.heard) == listener.enough:
                break
    return given


async def test_words_are_heard_one_by_one_and_reach_the_framework_all_at_once() -> None:
    listener = Listener()
    script = Script({"reasoning": "h"}, {"reasoning": "m"}, {"content": "Hel"}, {"content": "lo"})
    given = await updates(script, listener)
    assert listener.heard == [("h", ""), ("m", ""), ("", "Hel"), ("", "lo")]
    assert given == [[("text_reasoning", "hm"), ("text", "Hello")]]


async def test_what_was_said_before_a_call_reaches_the_framework_before_it() -> None:
    call = {"index": 0, "id": "x", "function": {"name": "add", "arguments": "{}"}}
    script = Script({"content": "I "}, {"content": "add"}, {"tool_calls": [call], "content": "."}, {"content": " So"})
    listener = Listener()
    given = await updates(script, listener)
    assert given == [[("text", "I add."), ("function_call", "add")], [("text", " So")]]
    assert listener.heard == [("", "I "), ("", "add"), ("", "."), ("", " So")]


async def test_a_listener_that_has_had_enough_gets_the_stream_into_its_hands_at_once() -> None:
    listener = Listener(enough=2)
    given = await updates(Script({"content": "a"}, {"content": "b"}, {"content": "c"}), listener)
    assert given == [[("text", "ab")]]


# what is sent


def test_options_become_keys_of_the_request() -> None:
    options = {
        "temperature": 0.0,
        "max_tokens": 9,
        "stop": ["."],
        "reasoning_effort": "low",
        "model": "another",
        "conversation_id": "c",
        "tools": [add],
        "tool_choice": {"mode": "required", "required_function_name": "add"},
        "allow_multiple_tool_calls": False,
        "instructions": "Be kind.",
    }
    body = request_body([Message("user", ["a", "b"])], options)
    assert body.pop("tools")[0]["function"]["name"] == "add"
    assert body == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "a\nb"}],
        "temperature": 0.0,
        "max_tokens": 9,
        "stop": ["."],
        "reasoning_effort": "low",
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
    }


def test_a_tool_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in request_body([], {"tool_choice": "auto"})


def test_a_response_format_may_be_a_model_a_schema_or_openais_own() -> None:
    class Plan(BaseModel):
        steps: list[str]

    def sent(wanted: Any) -> Any:
        return request_body([], {"response_format": wanted})["response_format"]

    assert sent(Plan)["json_schema"] == {"name": "Plan", "schema": Plan.model_json_schema()}
    assert sent({"type": "integer"})["json_schema"]["schema"] == {"type": "integer"}
    assert sent({"type": "json_object"}) == {"type": "json_object"}


def test_a_tools_message_follows_its_call_and_arguments_are_text() -> None:
    message = Message(
        "assistant",
        [
            Content.from_text_reasoning(text="not sent"),
            Content.from_function_call("x", "add", arguments={"a": 1}),
            Content.from_function_result("x", result="1"),
        ],
    )
    function = {"name": "add", "arguments": '{"a":1}'}
    assert request_body([message], {})["messages"] == [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "x", "content": "1"},
    ]


def test_pictures_and_hosted_tools_are_refused() -> None:
    picture = Content.from_uri("https://127.0.0.1/a.png", media_type="image/png")
    with pytest.raises(Invalid, match="text only, not content of type uri"):
        request_body([Message("user", [picture])], {})
    with pytest.raises(Invalid, match="functions as tools"):
        request_body([], {"tools": [{"type": "web_search"}]})
    spec = FunctionTool(name="f", func=None).to_json_schema_spec()
    assert request_body([], {"tools": [spec]})["tools"] == [spec]


# failing and leaving


@pytest.mark.parametrize("stream", [True, False])
async def test_a_failed_model_comes_out_of_an_agent_as_it_is(
    stream: bool, endpoint: Endpoint, fake: ScriptedModel
) -> None:
    fake.reply = lambda body: Reply(status=401)
    with pytest.raises(ModelFailed, match="refused the key"):
        await outcome(with_tools(endpoint), stream=stream)


async def test_a_model_that_breaks_off_fails_the_agent_after_what_it_said(
    endpoint: Endpoint, fake: ScriptedModel
) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b"], drop_after=1)
    said = []
    with pytest.raises(ModelFailed, match="broke off"), anyio.fail_after(5):
        async with with_tools(endpoint).run("hi", stream=True) as updates:
            async for update in updates:
                said.append(update.text)  # noqa: PERF401  # what came before the failure counts
    assert said == ["a"]


async def read_all(agent: Agent) -> None:
    async with agent.run("hi", stream=True) as updates:
        async for _ in updates:
            pass


@pytest.mark.parametrize("sent", [None, 1], ids=["before the first byte", "in mid-stream"])
@pytest.mark.parametrize("agents", [1, 50])
async def test_cancelled_agents_hang_up(agents: int, sent: int | None, endpoint: Endpoint, fake: ScriptedModel) -> None:
    held = anyio.Event()
    reply = Reply(tokens=["a", "b"], hold_after=(sent, held)) if sent else Reply(hold_before=held)
    fake.reply = lambda body: reply
    agent = with_tools(endpoint)
    async with anyio.create_task_group() as tasks:
        for _ in range(agents):
            tasks.start_soon(read_all, agent)
        await fake.wait_for(lambda: [call.tokens_sent for call in fake.calls] == [sent or 0] * agents)
        tasks.cancel_scope.cancel()
    await fake.settled()
    assert (fake.hangups, fake.open) == (agents, 0)


async def ask(agent: Agent) -> None:
    await agent.run("hi")


async def test_a_whole_answer_that_is_cancelled_hangs_up_too(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b"], hold_after=(1, anyio.Event()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, with_tools(endpoint))
        await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 1)
        tasks.cancel_scope.cancel()
    await fake.settled()
    assert (fake.hangups, fake.open) == (1, 0)


async def test_leaving_an_agents_stream_early_hangs_up(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b"], hold_after=(1, anyio.Event()))
    with anyio.fail_after(5):
        async with with_tools(endpoint).run("hi", stream=True) as updates:
            async for _ in updates:
                break
    await fake.settled()
    assert (fake.hangups, fake.open) == (1, 0)

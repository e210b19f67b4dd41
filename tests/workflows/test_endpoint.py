import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st

from agentic_fleet.errors import ModelBusy, ModelFailed
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows.chunks import MAX_LINE, Lines
from agentic_fleet.workflows.completions import Chunk
from agentic_fleet.workflows.endpoint import Endpoint
from tests.workflows.conftest import endpoint_to

HI: dict[str, Any] = {"messages": [{"role": "user", "content": "hello dear model"}]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}


async def collect(endpoint: Endpoint, **more: Any) -> list[Chunk]:
    with anyio.fail_after(10):
        return [chunk async for chunk in endpoint.stream({**HI, **more})]


def text(chunks: list[Chunk]) -> str:
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@asynccontextmanager
async def canned(answer: bytes, *, hold: bool = False) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that gives every connection the same bytes, then closes it or holds it until the client leaves.

    Yields its address and a list of what it has seen.
    """
    seen: list[str] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)
            seen.append("asked")
            try:
                while hold:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                seen.append("left")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}", seen
        tasks.cancel_scope.cancel()


def sse(*lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + b"".join(lines)


# an answer


async def test_an_answer_comes_in_chunks_and_its_usage_last(endpoint: Endpoint) -> None:
    chunks = await collect(endpoint)
    assert text(chunks) == "Re: hello dear model"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


async def test_a_request_carries_the_key_the_model_and_the_wish_to_stream(
    endpoint: Endpoint, fake: ScriptedModel
) -> None:
    await collect(endpoint, temperature=0.5)
    assert fake.calls[0].headers["authorization"] == "Bearer secret"
    streamed = {"model": "m-1", "stream": True, "stream_options": {"include_usage": True}}
    assert fake.calls[0].body == {**HI, "temperature": 0.5, **streamed}


async def test_azures_address_is_kept_whole(session: aiohttp.ClientSession, fake: ScriptedModel) -> None:
    path = "/openai/deployments/team/chat/completions?api-version=2024-10-21"
    await collect(endpoint_to(fake.url + path, session))
    assert fake.calls[0].path == path


async def test_answers_one_after_the_other_share_a_connection(endpoint: Endpoint, fake: ScriptedModel) -> None:
    await collect(endpoint)
    await collect(endpoint)
    assert fake.calls[0].connection == fake.calls[1].connection


async def test_cookies_are_not_kept(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a"], headers={"set-cookie": "who=me"})
    await collect(endpoint)
    await collect(endpoint)
    assert "cookie" not in fake.calls[1].headers


async def test_a_proxy_from_the_environment_is_used_and_its_exceptions_too(
    session: aiohttp.ClientSession, fake: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", fake.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert text(await collect(endpoint_to("http://model.invalid/v1/chat/completions", session))).startswith("Re")
    assert fake.calls[0].headers["host"] == "model.invalid"
    await collect(endpoint_to(f"{fake.base_url}/chat/completions", session))
    assert fake.calls[1].headers["host"].startswith("127.0.0.1")


@pytest.mark.parametrize("ending", [b"data: [DONE]\n\n", b""], ids=["with DONE", "without DONE"])
async def test_comments_carriage_returns_and_other_fields_are_passed_over(
    ending: bytes, session: aiohttp.ClientSession
) -> None:
    lines = [b": alive\r\n\r\n", b"event: x\r\n", b'data:{"choices":[{"delta":{"content":"a"}}]}\r\n\r\n']
    last = b'data: {"choices":[{"delta":null,"finish_reason":"stop"}]}\n\n'
    async with canned(sse(*lines, last, ending)) as (address, _):
        chunks = await collect(endpoint_to(f"http://{address}", session))
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [{"content": "a"}, None]


async def test_what_has_come_at_once_is_one_chunk_and_its_text_the_same(session: aiohttp.ClientSession) -> None:
    words = [b'data: {"choices":[{"delta":{"content":"%d "},"finish_reason":null}]}\n\n' % n for n in range(9)]
    ending = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    async with canned(sse(*words, ending)) as (address, _):
        chunks = await collect(endpoint_to(f"http://{address}", session))
    assert text(chunks) == "".join(f"{n} " for n in range(9))
    assert len(chunks) == 2


@given(st.lists(st.integers(0, 60)))
def test_lines_are_found_wherever_the_network_cuts_them(cuts: list[int]) -> None:
    whole = b'data: {"a":1}\n\ndata:{"b":"\xc3\xa9"}\r\n: no\r\n\r\ndata: [DONE]\n\n'
    lines, found, begin = Lines(), list[bytes](), 0
    for end in [*sorted(cuts), len(whole)]:
        found += lines.feed(whole[begin:end])
        begin = max(begin, end)
    assert found == [b'{"a":1}', b'{"b":"\xc3\xa9"}', b"[DONE]"]


def test_a_line_without_an_end_is_refused() -> None:
    with pytest.raises(ModelFailed):
        Lines().feed(b"data: " + b"x" * MAX_LINE)


# failures


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (400, {"message": "secret"}, "The model endpoint rejected the request (400)."),
        (400, {"code": "content_filter"}, "The model endpoint's content filter refused the request."),
        (400, {"code": "context_length_exceeded"}, "The conversation is too long for this model."),
        (401, {"message": "secret"}, "The model endpoint refused the key (401)."),
        (403, {"message": "secret"}, "The model endpoint refused the key (403)."),
        (
            404,
            {"message": "secret"},
            "The model endpoint does not know this model, or its address is not complete (404).",
        ),
        (418, {"message": "secret"}, "The model endpoint failed (418)."),
        (429, {"code": "insufficient_quota"}, "The model endpoint's quota is used up."),
        (302, {}, "The model endpoint failed (302)."),
    ],
)
async def test_a_refusal_is_told_in_our_words_and_not_tried_again(
    status: int, error: dict[str, str], said: str, endpoint: Endpoint, fake: ScriptedModel
) -> None:
    elsewhere = {"location": "/elsewhere"}  # a redirect is not followed either
    fake.reply = lambda body: Reply(status=status, error=error, headers=elsewhere)
    with pytest.raises(ModelFailed) as failure:
        await collect(endpoint)
    assert (str(failure.value), len(fake.calls)) == (said, 1)


async def test_the_providers_own_text_goes_to_the_log(
    endpoint: Endpoint, fake: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    fake.reply = lambda body: Reply(status=401, error={"message": "no\nsuch deployment"})
    with pytest.raises(ModelFailed):
        await collect(endpoint)
    assert "Model One answered 401: 'no\\nsuch deployment'" in caplog.text


async def test_what_a_provider_quotes_of_keys_and_words_stays_out_of_the_log(
    endpoint: Endpoint, fake: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    words = "xylophone lessons"
    said = f"Incorrect API key secret. You sent ({words}) to the model: no such deployment"
    fake.reply = lambda body: Reply(status=401, error={"message": said})
    with pytest.raises(ModelFailed):
        await collect(endpoint, messages=[{"role": "user", "content": [{"type": "text", "text": f"My {words}?"}]}])
    assert "'Incorrect API key …. You sent (…) to the model: no such deployment'" in caplog.text


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_passing_refusal_is_tried_again(status: int, endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(status=status) if len(fake.calls) < 3 else Reply(tokens=["at last"])
    assert text(await collect(endpoint)) == "at last"
    assert len(fake.calls) == 3


@pytest.mark.usefixtures("no_pauses")
async def test_three_tries_are_enough(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(status=429)
    with pytest.raises(ModelBusy, match=r"overloaded \(429\)"):
        await collect(endpoint)
    assert len(fake.calls) == 3


async def test_an_endpoint_that_asks_for_a_long_pause_is_given_up(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(status=503, headers={"Retry-After": "60"})
    with pytest.raises(ModelFailed, match="503"):
        await collect(endpoint)
    assert len(fake.calls) == 1


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("answer", [b"", sse()], ids=["no headers", "no body"])
async def test_a_connection_that_breaks_before_the_answer_is_tried_again(
    answer: bytes, session: aiohttp.ClientSession
) -> None:
    async with canned(answer) as (address, seen):
        with pytest.raises(ModelFailed):
            await collect(endpoint_to(f"http://{address}", session))
    assert seen == ["asked"] * 3


@pytest.mark.usefixtures("no_pauses")
async def test_an_endpoint_that_is_not_there_cannot_be_reached(session: aiohttp.ClientSession) -> None:
    async with canned(b"") as (address, _):
        pass
    with pytest.raises(ModelFailed, match="cannot be reached"):
        await collect(endpoint_to(f"http://{address}", session))


@pytest.mark.parametrize("reply", [Reply(tokens=["a", "b"], drop_after=1), Reply(tokens=["a", "b"], end_after=1)])
async def test_an_answer_that_breaks_off_is_never_asked_for_again(
    reply: Reply, endpoint: Endpoint, fake: ScriptedModel
) -> None:
    fake.reply = lambda body: reply
    chunks = []
    with pytest.raises(ModelFailed, match="broke off in mid-answer"), anyio.fail_after(5):
        async for chunk in endpoint.stream(HI):
            chunks.append(chunk)  # noqa: PERF401  # what came before the failure counts
    assert (text(chunks), len(fake.calls)) == ("a", 1)


async def test_an_error_in_mid_stream_ends_the_answer(session: aiohttp.ClientSession) -> None:
    async with canned(sse(b'data: {"error":{"message":"secret"}}\n\n')) as (address, _):
        with pytest.raises(ModelFailed, match="broke off"):
            await collect(endpoint_to(f"http://{address}", session))


@pytest.mark.parametrize("line", [b"data: {no\n\n", b"data: 7\n\n", b'data: {"choices":7}\n\n', b"data: \xff\n\n"])
async def test_what_is_not_an_answer_is_refused(line: bytes, session: aiohttp.ClientSession) -> None:
    async with canned(sse(line)) as (address, _):
        with pytest.raises(ModelFailed, match="not an answer"):
            await collect(endpoint_to(f"http://{address}", session))


async def test_garbage_in_a_stream_hangs_up(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a"], garbage=True, hold_after=(0, anyio.Event()))
    with pytest.raises(ModelFailed, match="not an answer"):
        await collect(endpoint)
    await fake.settled()
    assert (fake.hangups, fake.open) == (1, 0)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_model_that_falls_silent_is_given_up(
    begun: bool, session: aiohttp.ClientSession, fake: ScriptedModel
) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["a"], hold_after=(0, held)) if begun else Reply(hold_before=held)
    with pytest.raises(ModelFailed, match=r"sent nothing for 0\.1 seconds\."):
        await collect(endpoint_to(f"{fake.base_url}/chat/completions", session, timeout=0.1))
    await fake.settled()
    assert (len(fake.calls), fake.hangups) == (1, 1)


# what an endpoint does not know


@pytest.mark.parametrize(
    ("status", "key", "error"),
    [
        (400, "response_format", {"message": "This response_format type is unavailable now"}),
        (400, "stream_options", {"message": "Unrecognized request argument supplied: stream_options"}),
        (422, "stream_options", {"detail": [{"loc": ["body", "stream_options"], "msg": "extra", "input": HI}]}),
        (400, "temperature", {"message": "Only the default (1) value is supported.", "param": "temperature"}),
    ],
)
async def test_a_key_that_the_endpoint_refuses_is_left_out_from_then_on(
    status: int, key: str, error: dict[str, Any], endpoint: Endpoint, fake: ScriptedModel
) -> None:
    fake.reply = lambda body: Reply(status=status, error=error) if key in body else Reply(tokens=["fine"])
    for _ in range(2):
        assert text(await collect(endpoint, response_format=SCHEMA, temperature=0.0)) == "fine"
    assert [key in call.body for call in fake.calls] == [True, False, False]
    assert endpoint.constrained == (key != "response_format")


async def test_the_newer_name_of_max_tokens_is_learnt(endpoint: Endpoint, fake: ScriptedModel) -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    error = {"message": said, "param": "max_tokens"}
    fake.reply = lambda body: Reply(status=400, error=error) if "max_tokens" in body else Reply(tokens=["fine"])
    for _ in range(2):
        await collect(endpoint, max_tokens=5)
    assert [call.body.get("max_completion_tokens") for call in fake.calls] == [None, 5, 5]


async def test_another_parameters_fault_costs_no_key(endpoint: Endpoint, fake: ScriptedModel) -> None:
    error = {"message": "response_format is fine, messages are not", "param": "messages[0]"}
    fake.reply = lambda body: Reply(status=400, error=error)
    with pytest.raises(ModelFailed, match="400"):
        await collect(endpoint, response_format=SCHEMA)
    assert len(fake.calls) == 1


# leaving


async def read_all(endpoint: Endpoint) -> None:
    async for _ in endpoint.stream(HI):
        pass


async def test_cancelling_before_the_first_byte_hangs_up(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(hold_before=anyio.Event())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_all, endpoint)
        await fake.wait_for(lambda: fake.open == 1)
        tasks.cancel_scope.cancel()
    await fake.settled()
    assert (fake.hangups, fake.open) == (1, 0)


async def test_cancelling_in_mid_stream_hangs_up(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b", "c"], hold_after=(2, anyio.Event()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_all, endpoint)
        await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 2)
        tasks.cancel_scope.cancel()
    await fake.settled()
    assert (fake.hangups, fake.open) == (1, 0)


async def test_closing_the_generator_hangs_up(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b", "c"], hold_after=(2, anyio.Event()))
    chunks = endpoint.stream(HI)
    with anyio.fail_after(5):
        await anext(chunks)
        await chunks.aclose()
    await fake.settled()
    assert (fake.hangups, fake.open) == (1, 0)


async def test_cancelling_while_it_waits_to_try_again_tries_no_more(
    endpoint: Endpoint, fake: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agentic_fleet")
    fake.reply = lambda body: Reply(status=503, headers={"Retry-After": "9"})
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_all, endpoint)
            await fake.wait_for(lambda: len(fake.calls) == 1 and not fake.open)
            while "trying again in 9.00 s" not in caplog.text:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("scheme", "answer"),
    [("https", b""), ("http", b""), ("http", sse())],
    ids=["in the TLS handshake", "before the headers", "after the headers"],
)
async def test_cancelling_while_an_answer_begins_leaves_nothing_open(
    scheme: str, answer: bytes, session: aiohttp.ClientSession
) -> None:
    async with canned(answer, hold=True) as (address, seen):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read_all, endpoint_to(f"{scheme}://{address}", session))
                while not seen:
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            while "left" not in seen:
                await anyio.lowlevel.checkpoint()


async def test_fifty_cancelled_at_once_all_hang_up_and_leave_no_task(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b"], hold_after=(len(fake.calls) % 2, anyio.Event()))
    before = len(anyio.get_running_tasks())
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(read_all, endpoint)
        await fake.wait_for(lambda: fake.open == 50)
        tasks.cancel_scope.cancel()
    await fake.settled()
    assert (fake.hangups, fake.open) == (50, 0)
    with anyio.fail_after(5):
        while len(anyio.get_running_tasks()) > before:  # the server's wind down too
            await anyio.lowlevel.checkpoint()

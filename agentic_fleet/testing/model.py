"""A model behind a real HTTP server: what it answers is a script, and it knows who hung up on it.

`fake.reply` is called with each request's body and returns the `Reply` to give; the default answers a decision with
the least JSON its schema allows, and anything else with the user's own words, so that a test can trace a marker.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import anyio.lowlevel

from agentic_fleet.testing.least_json import least
from agentic_fleet.testing.server import serving

Body = dict[str, Any]
PATIENCE = 10  # seconds until a wait for something that never happens fails its test


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer. With a `status` other than 200 it is a refusal, whose JSON body is ``{"error": error}``."""

    tokens: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    reasoning_field: str = "reasoning_content"  # some servers call it "reasoning"
    tool_calls: Sequence[tuple[str, str]] = ()  # (function's name, arguments as JSON text)
    leaves_out: Collection[str] = ()  # "index", "id": tool calls come whole and lack these; answers lack ids as well
    finish_reason: str | None = None  # None: what fits
    usage: tuple[int, int] | None = None  # prompt and completion tokens; None: counted
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=lambda: {"message": "no", "type": "fake"})
    hold_before: anyio.Event | None = None  # nothing is sent, not even headers, until it is set
    hold_after: tuple[int, anyio.Event] | None = None  # after so many tokens nothing more until it is set
    drop_after: int | None = None  # the connection breaks after so many tokens
    end_after: int | None = None  # the stream ends politely after so many tokens, without an ending
    garbage: bool = False  # a line that is not JSON stands before the first token


@dataclass(slots=True, kw_only=True)
class Call:
    """One request as it came in, and what became of it."""

    id: str  # of its answer
    connection: tuple[str, int]  # the client's address
    path: str  # with the query
    headers: dict[str, str]  # names in lower case
    body: Body
    state: Literal["open", "finished", "hung_up"] = "open"
    tokens_sent: int = 0


class FakeOpenAI:
    """Serves ``/v1/chat/completions`` and Azure's ``/openai/deployments/NAME/chat/completions``."""

    def __init__(self) -> None:
        self.reply: Callable[[Body], Reply] = answer
        self.calls: list[Call] = []
        self.url = ""  # http://127.0.0.1:PORT
        self._changed = anyio.Event()
        self._closing = anyio.Event()

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def open(self) -> int:
        """Calls that are being answered now."""
        return sum(call.state == "open" for call in self.calls)

    @property
    def hangups(self) -> int:
        """Calls whose client left before the answer was finished."""
        return sum(call.state == "hung_up" for call in self.calls)

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Wait until it holds; it is asked again whenever a call begins, sends a token or ends."""
        with anyio.fail_after(PATIENCE):
            while not predicate():
                await self._changed.wait()

    async def settled(self) -> None:
        """Wait until no call is open."""
        await self.wait_for(lambda: not self.open)

    def close(self) -> None:
        """Let go of all that is held."""
        self._closing.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _read(receive)
        path = scope["path"] + (f"?{query}" if (query := scope["query_string"].decode()) else "")
        if not scope["path"].endswith("/chat/completions"):
            await _send_json(send, 404, {"error": {"message": f"no such path: {path}"}})
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        number = len(self.calls) + 1
        call = Call(
            id=f"chatcmpl-{number}", connection=scope["client"], path=path, headers=headers, body=json.loads(body)
        )
        self.calls.append(call)
        self._change()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, call, receive, tasks.cancel_scope)
            await self._answer(call, send)
            tasks.cancel_scope.cancel()

    async def _watch(self, call: Call, receive: Any, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end(call, "hung_up")
        scope.cancel()

    async def _answer(self, call: Call, send: Any) -> None:
        reply = self.reply(call.body)
        await self._hold(reply.hold_before)
        if reply.status != 200:
            self._end(call, "finished")
            await _send_json(send, reply.status, {"error": dict(reply.error)}, reply.headers)
        elif not call.body.get("stream"):
            self._end(call, "finished")
            await _send_json(send, 200, _whole(reply, call), reply.headers)
        else:
            await self._stream(call, reply, send)

    async def _stream(self, call: Call, reply: Reply, send: Any) -> None:
        await send(_start(200, {"content-type": "text/event-stream", **reply.headers}))
        if "id" in reply.leaves_out:
            call.id = ""
        if reply.garbage:
            await send({"type": "http.response.body", "body": b"data: {not json\n\n", "more_body": True})
        for piece in _pieces(reply):
            if piece.counts:
                if call.tokens_sent == reply.drop_after:
                    self._end(call, "finished")
                    return  # uvicorn breaks a connection whose answer was left unfinished
                if call.tokens_sent == reply.end_after:
                    break
                if reply.hold_after and call.tokens_sent == reply.hold_after[0]:
                    await self._hold(reply.hold_after[1])
            await send({"type": "http.response.body", "body": _event(call, piece.fields), "more_body": True})
            if piece.counts:
                call.tokens_sent += 1
                self._change()
                await anyio.lowlevel.checkpoint()  # every token in its own packet, as from a real model
        else:
            await send({"type": "http.response.body", "body": _ending(reply, call), "more_body": True})
        self._end(call, "finished")
        await anyio.lowlevel.checkpoint()  # the end of the body has a packet of its own, too
        await send({"type": "http.response.body", "body": b""})

    async def _hold(self, event: anyio.Event | None) -> None:
        if event is None:
            return
        async with anyio.create_task_group() as tasks:
            for let_go in (event, self._closing):
                tasks.start_soon(_cancel_when, let_go, tasks.cancel_scope)

    def _end(self, call: Call, state: Literal["finished", "hung_up"]) -> None:
        if call.state == "open":
            call.state = state
            self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@asynccontextmanager
async def fake_openai(reply: Callable[[Body], Reply] | None = None) -> AsyncIterator[FakeOpenAI]:
    """A running one."""
    fake = FakeOpenAI()
    if reply:
        fake.reply = reply
    async with serving(fake, lifespan="off", ws="none") as fake.url:
        try:
            yield fake
        finally:
            fake.close()


def answer(body: Body) -> Reply:
    """The default reply."""
    wanted = body.get("response_format")
    if wanted and wanted["type"] == "json_schema":
        schema = wanted["json_schema"]["schema"]
        text = json.dumps(least(schema))
        return Reply(tokens=[text[at : at + 8] for at in range(0, len(text), 8)])
    return Reply(tokens=["Re", ": ", *_words(body)])


@dataclass(frozen=True, slots=True)
class _Piece:
    fields: dict[str, Any]
    counts: bool  # is a token


def _pieces(reply: Reply) -> list[_Piece]:
    def piece(delta: dict[str, Any], *, counts: bool = False) -> _Piece:
        return _Piece({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, counts)

    pieces = [piece({"role": "assistant", "content": ""})]
    pieces += [piece({reply.reasoning_field: text}) for text in reply.reasoning]
    pieces += [piece({"content": token}, counts=True) for token in reply.tokens]
    for index, (name, arguments) in enumerate(reply.tool_calls):
        if reply.leaves_out:
            whole = {"index": index, "id": _call_id(index), "function": {"name": name, "arguments": arguments}}
            pieces.append(piece({"tool_calls": [{k: v for k, v in whole.items() if k not in reply.leaves_out}]}))
            continue
        head = {"index": index, "id": _call_id(index), "type": "function", "function": {"name": name, "arguments": ""}}
        pieces.append(piece({"tool_calls": [head]}))
        middle = len(arguments) // 2
        for part in (arguments[:middle], arguments[middle:]):
            pieces.append(piece({"tool_calls": [{"index": index, "function": {"arguments": part}}]}))
    if len(reply.tokens) in (reply.drop_after, reply.end_after):
        pieces.append(piece({}, counts=True))  # so that the stream stops before its ending
    return pieces


def _ending(reply: Reply, call: Call) -> bytes:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(reply)}]}
    parts = [b": the end is near\n\n", _event(call, last)]
    if call.body.get("stream_options", {}).get("include_usage"):
        parts.append(_event(call, {"choices": [], "usage": _usage(reply, call.body)}))
    return b"".join([*parts, b"data: [DONE]\n\n"])


def _whole(reply: Reply, call: Call) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.tokens) or None}
    if reply.reasoning:
        message[reply.reasoning_field] = "".join(reply.reasoning)
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": _call_id(index), "type": "function", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(reply.tool_calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    return _envelope(call, "chat.completion") | {"choices": [choice], "usage": _usage(reply, call.body)}


def _event(call: Call, fields: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(_envelope(call, 'chat.completion.chunk') | fields)}\n\n".encode()


def _envelope(call: Call, kind: str) -> dict[str, Any]:
    return {"id": call.id, "object": kind, "created": 1, "model": call.body.get("model", "azure")}


def _finish(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(reply: Reply, body: Body) -> dict[str, int]:
    prompt, completion = reply.usage or (len(_words(body)), len(reply.tokens))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _words(body: Body) -> list[str]:
    """The last user message, cut after each blank."""
    asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
    text = asked[-1] if asked else ""
    if not isinstance(text, str):
        text = " ".join(part.get("text", "") for part in text)
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:]


def _call_id(index: int) -> str:
    return f"call_{index}"


async def _read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _send_json(send: Any, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
    await send(_start(status, {"content-type": "application/json", **(headers or {})}))
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def _start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

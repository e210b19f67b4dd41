"""A model behind a real HTTP server: what it answers is a script, and it knows who hung up on it.

Real, because what matters between a service and its model happens on the connection: tokens in packets of their own,
a client that leaves in mid-answer, an endpoint that stays silent or breaks off.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import anyio.lowlevel
from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from agentic_fleet import jsontext
from agentic_fleet.testing import completion
from agentic_fleet.testing.reply import Body, Reply, Script, asked, is_decision, play
from agentic_fleet.testing.server import serving

PATIENCE = 10
"""Seconds until a wait for something that never happens fails its test."""


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

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return asked(self.body)

    @property
    def is_decision(self) -> bool:
        """Whether it asked for JSON by a schema: a plan, an assessment, the next speaker."""
        return is_decision(self.body)


class ScriptedModel:
    """Serves ``/v1/chat/completions`` and Azure's ``/openai/deployments/NAME/chat/completions`` on loopback.

    ``with`` runs it in a thread of its own, ``async with`` in the test's event loop; either way it has gone when the
    block is left. `reply` is the script:

    - a text or a `Reply`: the answer to every call;
    - a list of them: one per call, in the order in which the calls come. One call more is refused (400), and leaving
      the block raises `ScriptUsedUp`; replies that are left over are no error;
    - a function of the request's body that returns a `Reply`, a text, or None for the default;
    - None, the default: the user's own words after "Re: ", so that a test can trace a marker.

    All but functions leave decisions alone: a call for JSON by a schema gets the least JSON that it allows, which is a
    sound plan or a passing assessment, and takes nothing from the list. What a function raises is raised again when
    the block is left (or noted on the exception that leaves it).
    """

    def __init__(self, reply: Script | None = None) -> None:
        self._reply = play(reply)
        self._trouble: Exception | None = None
        self._opened: AsyncExitStack | ExitStack
        self._portal: BlockingPortal | None = None  # into the thread that it runs in, if that is its own
        self._changed = anyio.Event()
        self._released = anyio.Event()
        self.calls: list[Call] = []
        self.url = ""  # http://127.0.0.1:PORT, while it runs

    @property
    def reply(self) -> Callable[[Body], Reply]:
        """The script, as a function. May be set to any script at any time; the next call gets it."""
        return self._reply

    @reply.setter
    def reply(self, script: Script | None) -> None:
        self._reply = play(script)

    @property
    def base_url(self) -> str:
        """For OpenAI's clients, and for `OPENAI_BASE_URL`."""
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
        """Wait until it holds, 10 s at most; it is asked again whenever a call begins, sends a token or ends."""
        if self._portal is None:
            await self._wait_for(predicate)
        else:
            await to_thread.run_sync(self._portal.call, self._wait_for, predicate)

    async def settled(self) -> None:
        """Wait until no call is open."""
        await self.wait_for(lambda: not self.open)

    def release(self) -> None:
        """Let go of all that hangs or is held now."""
        if self._portal is None:
            self._release()
        else:
            self._portal.call(self._release)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.url = await stack.enter_async_context(serving(self, lifespan="off", ws="none"))
            stack.callback(self._close)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert isinstance(self._opened, AsyncExitStack)
        await self._opened.__aexit__(kind, error, trace)
        self._tell(error)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            self.url = stack.enter_context(portal.wrap_async_context_manager(serving(self, lifespan="off", ws="none")))
            self._portal = portal
            stack.callback(portal.call, self._close)
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert isinstance(self._opened, ExitStack)
        self._opened.__exit__(kind, error, trace)
        self._portal = None
        self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        if self._trouble is None:
            return
        if error is None:
            raise self._trouble
        error.add_note(f"The scripted model: {self._trouble!r}")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _read(receive)
        path = scope["path"] + (f"?{query}" if (query := scope["query_string"].decode()) else "")
        if not scope["path"].endswith("/chat/completions"):
            await _send_json(send, 404, {"error": {"message": f"no such path: {path}"}})
            return
        call = Call(
            id=f"chatcmpl-{len(self.calls) + 1}",
            connection=scope["client"],
            path=path,
            headers={name.decode(): value.decode() for name, value in scope["headers"]},
            body=jsontext.decode(body, dict[str, Any]),
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
        reply = self._chosen(call)
        await self._hold(reply.hold_before)
        if reply.hang_after == 0:
            await self._hold(self._released)
        if reply.status != 200:
            self._end(call, "finished")
            await _send_json(send, reply.status, {"error": dict(reply.error)}, reply.headers)
        elif not call.body.get("stream"):
            await anyio.sleep(reply.pause * len(reply.tokens))
            self._end(call, "finished")
            await _send_json(send, 200, completion.whole(reply, call.id, call.body), reply.headers)
        else:
            await self._stream(call, reply, send)

    def _chosen(self, call: Call) -> Reply:
        try:
            return self._reply(call.body)
        except Exception as error:
            self._trouble = self._trouble or error
            return Reply(status=400, error={"message": str(error), "type": type(error).__name__})

    async def _stream(self, call: Call, reply: Reply, send: Any) -> None:
        await send(_start(200, {"content-type": "text/event-stream", **reply.headers}))
        if "id" in reply.leaves_out:
            call.id = ""
        if reply.garbage:
            await send({"type": "http.response.body", "body": completion.GARBAGE, "more_body": True})
        for piece in completion.pieces(reply):
            if piece.counts:
                if call.tokens_sent == reply.drop_after:
                    self._end(call, "finished")
                    return  # uvicorn breaks a connection whose answer was left unfinished
                if call.tokens_sent == reply.end_after:
                    break
                await self._wait_to_go_on(call, reply)
            frame = completion.frame(call.id, call.body, piece.fields)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            if piece.counts:
                call.tokens_sent += 1
                self._change()
                await anyio.lowlevel.checkpoint()  # every token in its own packet, as from a real model
        else:
            ending = completion.ending(reply, call.id, call.body)
            await send({"type": "http.response.body", "body": ending, "more_body": True})
        self._end(call, "finished")
        await anyio.lowlevel.checkpoint()  # the end of the body has a packet of its own, too
        await send({"type": "http.response.body", "body": b""})

    async def _wait_to_go_on(self, call: Call, reply: Reply) -> None:
        """Before the next token."""
        await anyio.sleep(reply.pause)
        if reply.hold_after and call.tokens_sent == reply.hold_after[0]:
            await self._hold(reply.hold_after[1])
        if call.tokens_sent and call.tokens_sent == reply.hang_after:
            await self._hold(self._released)

    async def _hold(self, event: anyio.Event | None) -> None:
        if event is None:
            return
        async with anyio.create_task_group() as tasks:
            for let_go in (event, self._released):
                tasks.start_soon(_cancel_when, let_go, tasks.cancel_scope)

    async def _wait_for(self, predicate: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE):
            while not predicate():
                await self._changed.wait()

    def _release(self) -> None:
        self._released.set()
        self._released = anyio.Event()

    def _close(self) -> None:
        """Nothing is held any more, from now on."""
        self._released.set()

    def _end(self, call: Call, state: Literal["finished", "hung_up"]) -> None:
        if call.state == "open":
            call.state = state
            self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def _read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _send_json(send: Any, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
    await send(_start(status, {"content-type": "application/json", **(headers or {})}))
    await send({"type": "http.response.body", "body": jsontext.encode(body)})


def _start(status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

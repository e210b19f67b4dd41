"""Readers of a run's stream: SSE or WebSocket, resumed by cursor when the connection breaks.

A reader knows one number, the place of the last event it has shown. Whatever happens to the connection, it asks for
what comes after that, so nothing is shown twice or left out.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, Unpack

import anyio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from agentic_fleet import jsontext
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing.client import AskOptions, Client, check, refusal
from agentic_fleet.testing.errors import CutOff, Refused
from agentic_fleet.testing.event import Event, Events
from agentic_fleet.testing.libraries import httpx, httpx_sse
from agentic_fleet.turns import LIVE

Transport = Literal["sse", "websocket"]

TRIES = 10
"""Connections in a row without a new event before giving up: some nine seconds."""
SILENCE = 60.0
"""Seconds without a byte until a connection counts as broken: four of the service's heartbeats."""
PASSING = frozenset({429, 502, 503, 504})
"""Refusals that count as a broken connection: full, shutting down, or a proxy without its service."""


async def collect(
    service: Client | str,
    message: str,
    *,
    conversation: str | None = None,
    transport: Transport = "sse",
    api_key: str | None = None,
    within: float = 60.0,
    tries: int = TRIES,
    **ask: Unpack[AskOptions],
) -> Events:
    """Start a run, read its stream to the end, and return what it told.

    `service` is a fleet, a client or an address. A run that waits for a human is not at its end: read it with `watch`.
    Raises Refused when it is not accepted, TimeoutError (with the events so far) after `within` seconds, and CutOff.
    In a test without an event loop: ``blocking(collect, fleet, "Hello")``.
    """
    client, events, run_id = _client(service, api_key), Events(), ""
    try:
        with anyio.fail_after(within):
            run_id = (await client.start(message, conversation=conversation, **ask)).run_id
            async with aclosing(watch(client, run_id, transport=transport, tries=tries)) as stream:
                async for event in stream:
                    events.append(event)
    except TimeoutError:
        told = ", ".join(dict.fromkeys(events.types)) or "nothing"
        raise TimeoutError(f"The run {run_id} was not done after {within:g} s. It told: {told}.") from None
    return events


async def watch(
    service: Client | str,
    run_id: str,
    *,
    after: int | str | Event = 0,
    transport: Transport = "sse",
    api_key: str | None = None,
    tries: int = TRIES,
) -> AsyncGenerator[Event, None]:
    """The run's events after a place in its log (a number, an event's id, an event), up to the next `done`.

    Each is shown once, in order, across up to `tries` broken connections in a row; heartbeats are not shown. Ends at
    once when the run is over and there is nothing after that place. A run that is resumed goes on after its `done`:
    watch it again from there. Raises Refused (no such run, no such place, a key is missing) and CutOff. Leave it early
    through `contextlib.aclosing`, which closes the connection.
    """
    client, seq, failures = _client(service, api_key), _seq(after), 0
    connection = {"sse": _over_sse, "websocket": _over_websocket}[transport]
    while True:
        try:
            async with aclosing(connection(client, run_id, seq)) as events:
                async for event in events:
                    if event.seq <= seq:
                        continue
                    seq, failures = event.seq, 0
                    yield event
                    if event.type == StreamEventType.DONE:
                        return
            return
        except (httpx.TransportError, WebSocketException, OSError, _Broken) as error:
            lost: Exception = error
        except Refused as error:
            if error.status not in PASSING:
                raise
            lost = error
        failures += 1
        if failures >= tries:
            if isinstance(lost, Refused):
                raise lost
            raise CutOff(f"The stream of {run_id} broke after event {seq}, {failures} times: {lost!r}") from lost
        await anyio.sleep(min(0.025 * 2**failures, 2))


class _Broken(Exception):
    """A connection that ended before its stream did."""


async def _over_sse(client: Client, run_id: str, seq: int) -> AsyncGenerator[Event, None]:
    """What one connection brings. Returning means that the run is over."""
    async with (
        client.connection() as http,
        http.stream(
            "GET",
            f"/api/v1/runs/{run_id}/events",
            headers={"Accept": "text/event-stream", "Last-Event-ID": f"{run_id}:{seq}"},
            timeout=httpx.Timeout(10, read=SILENCE),
        ) as answer,
    ):
        if answer.status_code == 204:
            return
        if not answer.is_success:
            await answer.aread()
        check(answer)
        async with aclosing(httpx_sse.EventSource(answer).aiter_sse()) as frames:
            async for frame in frames:
                if frame.data and _type(frame.data) != StreamEventType.HEARTBEAT:
                    yield Event.read(frame.data, frame.id)
    raise _Broken("the stream ended before `done`")


async def _over_websocket(client: Client, run_id: str, seq: int) -> AsyncGenerator[Event, None]:
    """The same."""
    run = await client.run(run_id)
    if run.status not in LIVE and run.last_event_id == f"{run_id}:{seq}":
        return  # on a socket, a run that is over is silent
    url = f"ws{client.url.removeprefix('http')}/api/ws/chat"
    protocols = [Subprotocol("bearer"), Subprotocol(client.api_key)] if client.api_key else None
    try:
        proxy: Literal[True] | None = None if client.is_local else True
        async with connect(url, subprotocols=protocols, proxy=proxy, max_size=None) as socket:
            await socket.send(jsontext.encode({"type": "watch", "run_id": run_id, "after": seq}).decode())
            while True:
                with anyio.fail_after(SILENCE):
                    frame = await socket.recv()
                if (kind := _type(frame)) == StreamEventType.HEARTBEAT:
                    continue
                if kind == StreamEventType.ERROR:
                    _check(jsontext.decode(frame, dict[str, Any]))
                yield Event.read(frame)
    except InvalidStatus as error:
        raise refusal(error.response.status_code, bytes(error.response.body or b"")) from None


def _check(frame: dict[str, Any]) -> None:
    """An error without an id is no event of the run: the service will not do what it was asked for."""
    if "id" not in frame:
        about = frame.get("data") or {}
        raise Refused(int(about.get("status", 400)), {"title": "Refused", "detail": frame.get("error"), **about})


def _type(body: str | bytes) -> object:
    return jsontext.decode(body, dict[str, Any]).get("type")


def _client(service: Client | str, api_key: str | None) -> Client:
    if isinstance(service, str):
        return Client(service, api_key)
    return service if api_key is None else Client(service.url, api_key)


def _seq(after: int | str | Event) -> int:
    match after:
        case Event():
            return after.seq
        case str():
            return int(after.rpartition(":")[2])
        case _:
            return after

"""What an open event stream waits for: the next records of its run, a silence, or the server's shutdown."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

import anyio
from sse_starlette.sse import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from agentic_fleet.connection import HANG_UP
from agentic_fleet.events import Record
from agentic_fleet.runs import Watch
from agentic_fleet.runs.change import Change
from agentic_fleet.settings import Settings
from agentic_fleet.web.clock import Clock

logger = logging.getLogger(__name__)

FAREWELL = 2.0
"""Seconds a stream gets to end properly when a server that owns the signals shuts down."""


async def listen_for_shutdown(leaving: anyio.Event) -> None:
    """Sets `leaving` when a server that owns the signals begins to shut down. One for all streams: the library's own,
    one for each, would take a kilobyte of every quiet stream."""
    await EventSourceResponse._listen_for_exit_signal()
    leaving.set()


class Tail:
    """One stream's."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._change = Change()
        self._silent = False
        self._leaving = False

    async def next(self) -> Sequence[Record] | None:
        """What is ready; None after a silence; `()` when nothing will follow."""
        self._silent = False
        records = () if self._leaving else await self._watch.next(self._change)
        return None if self._silent and not self._leaving and not records else records

    def silence(self) -> None:
        """There has been one."""
        self._silent = True
        self._change.tell()

    def set(self) -> None:
        """The server is shutting down. The response takes this for an event and sets it: with a real one, each stream
        would need another task, that waits for it."""
        self._leaving = True
        self._change.tell()


class EventStream(EventSourceResponse):
    """Sends ready frames until they end, the client leaves, or the server does. A client that takes no bytes for
    `send_timeout` is hung up on."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        tail: Tail,
        settings: Settings,
        leaving: anyio.Event,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`leaving` is set when the server is shutting down."""
        super().__init__(
            chunks,
            headers={"Cache-Control": "no-cache, no-transform", **(headers or {})},
            ping=0,  # its pings are comments, which EventSource does not show to pages
            sep="\n",
            shutdown_event=cast(anyio.Event, tail),
            shutdown_grace_period=FAREWELL,
        )
        self._tail = tail
        self._leaving = leaving
        self._clock = Clock(settings)
        self._patience = settings.send_timeout
        self._stalled = anyio.CancelScope()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def timed(message: Message) -> None:
            self._clock.begin()
            await send(message)
            self._clock.end()

        with self._stalled:
            await super().__call__(scope, receive, timed)
        if self._stalled.cancelled_caught:
            logger.info("cut a reader that took no bytes for %g s", self._patience)
            if close := scope.get("extensions", {}).get(HANG_UP):
                close["call"]()

    async def _send_with_timeout(self, send: Send, message: Message) -> None:
        await send(message)  # without a scope: the clock sees to it

    async def _listen_for_exit_signal(self) -> None:  # type: ignore[override]  # the base's needs no object
        await self._leaving.wait()

    async def _listen_for_disconnect(self, receive: Receive) -> None:
        while True:  # cancelled when the stream is through: `active` ends before the last send
            message: Message | None = None
            with anyio.CancelScope(deadline=self._clock.next_look):
                message = await receive()
            if message is None:
                self._look()
            elif message["type"] == "http.disconnect":
                self.active = False
                return

    def _look(self) -> None:
        match self._clock.look():
            case "stalled":
                self._stalled.cancel("nobody reads")
            case "silent":
                self._tail.silence()

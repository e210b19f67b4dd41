"""What an open stream waits for: the next records of its run, a silence, or the server's shutdown."""

import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

import anyio
from sse_starlette.sse import EventSourceResponse
from starlette.types import Message, Receive, Scope, Send

from agentic_fleet.connection import HANG_UP
from agentic_fleet.events import Record
from agentic_fleet.runs import Watch
from agentic_fleet.settings import Settings

logger = logging.getLogger(__name__)

FAREWELL = 2.0
"""Seconds a stream gets to end properly when a server that owns the signals shuts down."""


class Tail:
    """One stream's. `silence` is in seconds."""

    def __init__(self, watch: Watch, silence: float) -> None:
        self._leaving = False
        self._watch = watch
        self._limit = silence
        self._silence: anyio.CancelScope | None = None  # the wait for the next records, while there is one

    async def next(self) -> Sequence[Record] | None:
        """What is ready; None after a silence; `()` when nothing will follow."""
        if self._leaving:
            return ()
        with anyio.move_on_after(self._limit) as self._silence:
            return await self._watch.next()
        return () if self._leaving else None

    def set(self) -> None:
        """The server is shutting down. The response takes this for an event and sets it: with a real one, each stream
        would need another task, that waits for it."""
        self._leaving = True
        if self._silence:
            self._silence.cancel("the server is shutting down")


class EventStream(EventSourceResponse):
    """Sends ready frames until they end, the client leaves, or the server does. A client that takes no bytes for
    `send_timeout` is hung up on: one scope sees to that for all sends; one for each is a fifth of their cost."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        tail: Tail,
        settings: Settings,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            chunks,
            headers={"Cache-Control": "no-cache, no-transform", **(headers or {})},
            ping=0,  # its pings are comments, which EventSource does not show to pages
            sep="\n",
            shutdown_event=cast(anyio.Event, tail),
            shutdown_grace_period=FAREWELL,
        )
        self._patience = settings.send_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as stalled:

            async def patient(message: Message) -> None:
                stalled.deadline = anyio.current_time() + self._patience
                await send(message)
                stalled.deadline = math.inf

            await super().__call__(scope, receive, patient)
        if stalled.cancelled_caught:
            logger.info("cut a reader that took no bytes for %g s", self._patience)
            if close := scope.get("extensions", {}).get(HANG_UP):
                close["call"]()

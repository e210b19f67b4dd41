"""What an open stream waits for: the next records of its run, a silence, or the server's shutdown."""

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
from sse_starlette.sse import EventSourceResponse

from agentic_fleet.events import Record
from agentic_fleet.runs import Watch
from agentic_fleet.settings import Settings

FAREWELL = 2.0
"""Seconds a stream gets to end properly when a server that owns the signals shuts down."""


class Tail:
    """One stream's. `silence` is in seconds."""

    def __init__(self, watch: Watch, silence: float) -> None:
        self.shutdown = anyio.Event()
        self._watch = watch
        self._limit = silence
        self._silence: anyio.CancelScope | None = None  # the wait for the next records, while there is one

    async def next(self) -> Sequence[Record] | None:
        """What is ready; None after a silence; `()` when nothing will follow."""
        if self.shutdown.is_set():
            return ()
        with anyio.move_on_after(self._limit) as self._silence:
            return await self._watch.next()
        return () if self.shutdown.is_set() else None

    async def leave_at_shutdown(self) -> None:
        await self.shutdown.wait()
        if self._silence:
            self._silence.cancel("the server is shutting down")


def event_stream(
    chunks: AsyncIterator[bytes], tail: Tail, settings: Settings, headers: Mapping[str, str] | None = None
) -> EventSourceResponse:
    """The response that sends `chunks`, which are ready frames, until they end, the client leaves, or the server does.

    Serving it raises SendTimeoutError when the client takes no bytes for `send_timeout`.
    """
    return EventSourceResponse(
        chunks,
        headers={"Cache-Control": "no-cache, no-transform", **(headers or {})},
        ping=0,  # its pings are comments, which EventSource does not show to pages
        sep="\n",
        send_timeout=settings.send_timeout,
        data_sender_callable=tail.leave_at_shutdown,
        shutdown_event=tail.shutdown,
        shutdown_grace_period=FAREWELL,
    )

"""Server-Sent Events: one run, from any point, until it ends.

A stream is a cursor over a run's log, so leaving it, resuming it and coming late are the same code. Frames are made of
the stored bytes; whatever is ready goes out in one write.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agentic_fleet import events
from agentic_fleet.errors import BadCursor, Conflict, FleetError, NotFound
from agentic_fleet.events import Record, StreamEventType
from agentic_fleet.runs import Watch
from agentic_fleet.turns import LIVE, Ask, RunStatus
from agentic_fleet.web import views, wire
from agentic_fleet.web.pacing import Pace
from agentic_fleet.web.parts import Parts, parts_of, streams_of
from agentic_fleet.web.tail import EventStream, Tail

logger = logging.getLogger(__name__)

RETRY = b"retry: 2000\n"
"""Milliseconds a browser waits before it reconnects; a line of the first frame."""
WRITE = 256 * 1024
"""Bytes of frames joined into one write: what a stalled reader holds in our memory."""
RECENT = 60_000
"""Milliseconds after a run's end in which an unread answer is taken for a lost connection, not for a new question."""
LAST_NOTE = 2.0
"""Seconds for noting that `done` was sent."""

Opening = Callable[[], Awaitable[Watch]]


class ChatSSEHandler:
    """One per request; returned by an endpoint as its response.

    `opening` validates, may start a run, and gives the watch; what it raises becomes a status code, never a stream.
    """

    def __init__(self, request: Request, query: wire.StreamQuery, opening: Opening, *, paced: bool = False) -> None:
        """`paced` is for a page that draws at every event."""
        self._request = request
        self._pace = Pace() if paced else None
        self._settings = parts_of(request).settings
        self._lean = query.lean
        self._opening = opening
        self._head = RETRY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams = streams_of(self._request)
        with streams.place():
            watch = await self._opening()
            if watch.over:  # tells EventSource to stop reconnecting
                return await Response(status_code=204)(scope, receive, send)
            with watch:
                tail = Tail(watch)
                stream = EventStream(self._chunks(watch, tail), tail, self._settings, streams.leaving)
                await stream(scope, receive, send)

    async def _chunks(self, watch: Watch, tail: Tail) -> AsyncIterator[bytes]:
        """The log as ready bytes. No scope is held over a `yield`."""
        while True:
            await self._pause()  # before it looks: what comes meanwhile is joined
            try:
                records = await tail.next()
            except FleetError as error:
                logger.warning("a stream broke off: %s", error)  # its reader resumes by cursor
                return
            for chunk in self._frames(watch.run_id, records):
                await self._pause()
                yield chunk
            if watch.over:
                await note_done(watch)
                return
            if records is not None and not records:  # the service leaves, or the conversation was dropped
                return

    def _frames(self, run_id: str, records: Sequence[Record] | None) -> Iterator[bytes]:
        if records is None:
            yield self._headed(self._heartbeat())
            return
        for helping in self._pace.helpings(records) if self._pace else [records]:
            yield from map(self._headed, _joined(run_id, helping, self._lean))

    def _headed(self, chunk: bytes) -> bytes:
        """With the head of the stream, if it is the first. A quiet stream then keeps one copy of it, not two."""
        head, self._head = self._head, b""
        return head + chunk

    async def _pause(self) -> None:
        if self._pace:
            await self._pace.ready()

    def _heartbeat(self) -> bytes:
        body = views.notice(StreamEventType.HEARTBEAT)
        return b"data: %s\n\n" % (events.lean(body) if self._lean else body)


async def note_done(watch: Watch) -> None:
    """Remember that `done` was sent. Not worth an error to a reader who has everything."""
    with anyio.move_on_after(LAST_NOTE, shield=True):
        try:
            await watch.done_read()
        except FleetError as error:
            logger.warning("could not note that an answer was read: %s", error)


async def chat_stream(request: Request) -> Response | ChatSSEHandler:
    """GET /api/chat/{conversation_id}/stream: ask and watch in one request, as EventSource must."""
    conversation_id = wire.path_id(request, "conversation_id")
    query = wire.query(request, wire.ChatQuery)
    if request.method == "HEAD":  # must not start a run (RFC 9110, section 9.2.1)
        return Response(media_type="text/event-stream")

    async def opening() -> Watch:
        parts = parts_of(request)
        if found := wire.cursor(request, query.after):
            return await _resumed(parts, conversation_id, found)
        return await _asked(parts, conversation_id, wire.query(request, wire.AskWords).ask())

    return ChatSSEHandler(request, query, opening, paced=True)


async def _resumed(parts: Parts, conversation_id: str, found: wire.Cursor) -> Watch:
    if found.run_id is None:
        raise BadCursor("after: must be <run_id>:<seq>", [("after", "must be <run_id>:<seq>")])
    watch = await parts.runs.watch(found.run_id, found.seq)
    if watch.state.conversation_id != conversation_id:
        raise NotFound("This position is in another conversation.")
    return watch


async def _asked(parts: Parts, conversation_id: str, ask: Ask) -> Watch:
    """A new run; or the one that this very question has started, because browsers repeat GETs on their own."""
    repeated = await _repeated(parts, conversation_id, ask)
    if repeated is None:
        try:
            repeated = (await parts.runs.start(conversation_id, ask, create=True)).run_id
        except Conflict:  # a twin of this request may have been faster
            repeated = await _repeated(parts, conversation_id, ask)
            if repeated is None:
                raise
    return await parts.runs.watch(repeated)


async def _repeated(parts: Parts, conversation_id: str, ask: Ask) -> str | None:
    """The conversation's newest run, when it has this question and an answer that nobody has read to its end.

    Not one that was cancelled: a page closes its stream when it cancels, and asking again then means it.
    """
    for state in await parts.runs.page(conversation_id=conversation_id, limit=1):
        recent = state.completed_at is not None and abs(events.now() - state.completed_at) < RECENT
        unread = recent and not state.done_read and state.status is not RunStatus.CANCELLED
        if state.task == ask.message and (state.status in LIVE or unread):
            return state.run_id
    return None


def _joined(run_id: str, records: Sequence[Record], lean: bool) -> Iterator[bytes]:
    """The frames of `records`, joined into chunks of about WRITE bytes."""
    frames, size = [], 0
    for record in records:
        body = events.lean(record.body) if lean else record.body
        frames.append(b"id: %s:%d\ndata: %s\n\n" % (run_id.encode(), record.seq, body))
        size += len(body)
        if size >= WRITE:
            yield b"".join(frames)
            frames, size = [], 0
    if frames:
        yield b"".join(frames)

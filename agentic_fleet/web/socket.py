"""The chat WebSocket: one object per connection, a cursor per watched run, one writer.

Four kinds of task share a connection and end with it: one reads, so that pongs and the peer's leaving are always
noticed; one obeys the frames in their order; one per watched run follows its log; one writes, and nobody else sends.
A follower waits until its batch was written, so a slow peer slows only its own followers. No run ends with a socket,
unless it was asked to (`on_disconnect`).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

import anyio
from anyio.abc import TaskGroup
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from agentic_fleet import context
from agentic_fleet.conversations import new_id
from agentic_fleet.errors import Busy, Conflict, FleetError, Invalid, NotFound, TooFast
from agentic_fleet.events import StreamEventType
from agentic_fleet.runs import Watch
from agentic_fleet.turns import LIVE
from agentic_fleet.web import frames, problems, views, wire
from agentic_fleet.web.callers import subprotocol
from agentic_fleet.web.parts import frames_of, parts_of, streams_of
from agentic_fleet.web.sse import note_done

logger = logging.getLogger(__name__)

WATCHED = 32
"""Runs that one socket may watch at once: each holds a task and a batch of events."""
LINE = 16
"""Frames that may wait to be obeyed; then the peer's next ones wait in its own connection."""
GOODBYE = 1.0
"""Seconds for the last frame and the close; a peer that takes no bytes is left to the kernel's timeout."""

PONG = b'{"type":"pong"}'


@dataclass(slots=True)
class _Batch:
    """Frames of one sender, and when they have all been written."""

    frames: Sequence[bytes]
    written: anyio.Event = field(default_factory=anyio.Event)


@dataclass(frozen=True, slots=True)
class _Following:
    watch: Watch
    through: anyio.Event = field(default_factory=anyio.Event)  # everything has been written


@dataclass(frozen=True, slots=True)
class _Goodbye:
    code: int
    reason: str
    frame: bytes | None = None


async def chat(socket: WebSocket) -> None:
    await ChatWebSocketHandler(socket).serve()


class ChatWebSocketHandler:
    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._runs = parts_of(socket).runs
        self._rate = frames_of(socket)
        self._settings = parts_of(socket).settings
        self._tasks: TaskGroup
        self._line, self._frames = anyio.create_memory_object_stream[Message](LINE)
        self._out, self._outgoing = anyio.create_memory_object_stream[_Batch](0)
        self._watched: dict[str, _Following] = {}
        self._newest: str | None = None
        self._goodbye: _Goodbye | None = None

    async def serve(self) -> None:
        """Until either side hangs up. Raises Busy before the socket is accepted, which answers the handshake."""
        with self._line, self._frames, self._out, self._outgoing, streams_of(self._socket).place():
            try:
                await self._socket.accept(subprotocol(self._socket))
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._write)
                    self._tasks.start_soon(self._obey)
                    await self._read()
                    self._tasks.cancel_scope.cancel("the client left")
            except OSError:
                return  # the peer left during the handshake
            except Exception:
                logger.exception("a socket failed unexpectedly")
                self._goodbye = _Goodbye(1011, "Something went wrong here.")
            if self._goodbye:
                await self._leave(self._goodbye)

    async def _read(self) -> None:
        """Frames into the line, until the peer has left or must go."""
        patience, limit = self._settings.first_frame, self._settings.max_body
        with anyio.move_on_after(patience) as waiting:
            while (message := await self._socket.receive())["type"] == "websocket.receive":
                waiting.deadline = math.inf
                if len(message.get("bytes") or (message.get("text") or "").encode()) > limit:
                    self._goodbye = _Goodbye(1009, f"A frame was larger than {limit} bytes.")
                    return
                try:
                    self._rate.take(context.caller.get())
                except TooFast as error:
                    self._goodbye = _Goodbye(4429, str(error), _refusal(error))
                    return
                await self._line.send(message)
        if waiting.cancelled_caught:
            reason = f"No frame came within {patience:g} s."
            self._goodbye = _Goodbye(1008, reason, _refusal(Invalid(reason)))

    async def _obey(self) -> None:
        async for message in self._frames:
            try:
                await self._do(_frame(message))
            except FleetError as error:
                await self._say(_refusal(error))

    async def _do(self, frame: frames.Frame) -> None:
        match frame:
            case frames.Task():
                await self._start(frame)
            case frames.WatchRun(run_id=run_id, after=after):
                await self._watch(run_id, wire.position(wire.parse_cursor(str(after)), run_id))
            case frames.Respond():
                run_id = frame.workflow_id or self._asking(frame.request_id)
                await self._runs.answer(run_id, frame.request_id, frame.response)
            case frames.Cancel(workflow_id=workflow_id):
                await self._runs.cancel(workflow_id or self._newest_run())
            case frames.Resume():
                await self._resume(frame)
            case frames.Ping():
                await self._say(PONG)
            case _:
                assert_never(frame)

    async def _start(self, task: frames.Task) -> None:
        ask = task.ask()
        self._check_room()
        state = await self._runs.start(task.conversation_id or new_id(), ask, create=True)
        await self._watch(state.run_id, 0)

    async def _resume(self, frame: frames.Resume) -> None:
        run_id = frame.run_id
        if run_id is None and frame.conversation_id:
            run_id = await self._newest_of(frame.conversation_id)
        self._check_room()
        resumed = await self._runs.resume(run_id or self._newest_run(), frame.checkpoint_id)
        await self._watch(resumed.run_id, resumed.last_seq)

    async def _watch(self, run_id: str, after: int) -> None:
        if known := self._watched.get(run_id):
            if known.watch.state.status in LIVE:
                raise Conflict("This socket watches that run already.")
            await known.through.wait()  # it has ended (and may go on since): its end comes before what follows
        self._check_room()
        watch = await self._runs.watch(run_id, after)
        self._watched[run_id] = following = _Following(watch)
        self._newest = run_id
        self._tasks.start_soon(self._follow, following)

    def _newest_run(self) -> str:
        if self._newest is None:
            raise NotFound("There is no run on this socket.")
        return self._newest

    async def _newest_of(self, conversation_id: str) -> str:
        for state in await self._runs.page(conversation_id=conversation_id, limit=1):
            return state.run_id
        raise NotFound("There is no run in this conversation.")

    def _asking(self, request_id: str) -> str:
        """The watched run that has this request; an answered one too, so that a second answer is a conflict."""
        for run_id, following in self._watched.items():
            state = following.watch.state
            if request_id in state.answers or any(each.request_id == request_id for each in state.pending_requests):
                return run_id
        raise NotFound("No run on this socket has this request.")

    def _check_room(self) -> None:
        if len(self._watched) >= WATCHED:
            raise Busy(f"A socket can watch {WATCHED} runs at once.")

    async def _follow(self, following: _Following) -> None:
        watch = following.watch
        try:
            with watch:
                while records := await watch.next():
                    await self._say(*(views.event(watch.run_id, record) for record in records))
                if watch.over:
                    await note_done(watch)
        except FleetError as error:
            await self._say(_refusal(error))
        finally:
            del self._watched[watch.run_id]
            following.through.set()

    async def _say(self, *frames: bytes) -> None:
        """Return when the frames have been written."""
        batch = _Batch(frames)
        await self._out.send(batch)
        await batch.written.wait()

    async def _write(self) -> None:
        """The only task that sends. Ends the connection when the peer is gone or takes no bytes for too long."""
        try:
            while True:
                batch = _Batch([])
                with anyio.move_on_after(self._settings.heartbeat):
                    batch = await self._outgoing.receive()
                for frame in batch.frames or [views.notice(StreamEventType.HEARTBEAT)]:
                    with anyio.fail_after(self._settings.send_timeout):
                        await self._send(frame)
                batch.written.set()
        except TimeoutError:
            logger.info("cut a socket that took no bytes for %g s", self._settings.send_timeout)
            self._goodbye = _Goodbye(1013, "Too slow: reconnect and watch.")
        except WebSocketDisconnect:
            pass  # the reader learns it too, or has already
        self._tasks.cancel_scope.cancel("nobody reads")

    async def _send(self, frame: bytes) -> None:
        try:
            await self._socket.send({"type": "websocket.send", "text": frame.decode("ascii")})
        except RuntimeError as error:  # how the server says that the socket was closed beneath us
            raise WebSocketDisconnect(1006, str(error)) from None

    async def _leave(self, goodbye: _Goodbye) -> None:
        """Every task has ended, so this sends alone."""
        with anyio.move_on_after(GOODBYE, shield=True):
            try:
                if goodbye.frame:
                    await self._send(goodbye.frame)
                await self._socket.close(goodbye.code, goodbye.reason)
            except (WebSocketDisconnect, RuntimeError):
                pass  # it was faster


def _frame(message: Message) -> frames.Frame:
    text = message.get("text")
    if text is None:
        raise Invalid("Frames are JSON text, not binary.", [("body", "binary")])
    return frames.parse(text.encode())


def _refusal(error: FleetError) -> bytes:
    """An `error` frame that says what was wrong; `data` has what an HTTP answer would have had."""
    kind = problems.kind_of(error)
    data = {"type": kind.type, "status": kind.status, "errors": problems.fields_of(error)}
    return views.notice(StreamEventType.ERROR, error=str(error)[: problems.DETAIL], data=data)

"""The chat WebSocket: one object per connection, a cursor per watched run.

Three kinds of task share a connection and end with it: one reads, so that the peer's leaving is always noticed, and
says that it is there when nobody has said anything for a while; one obeys the frames in their order, while there are
any; one per watched run follows its log. They send in turn, and wait until they have: a slow peer slows only its own
followers. No run ends with a socket, unless it was asked to (`on_disconnect`).
"""

import logging
import math
from dataclasses import dataclass
from typing import assert_never

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from agentic_fleet import context
from agentic_fleet.conversations import new_id
from agentic_fleet.errors import Busy, Conflict, FleetError, Invalid, NotFound, TooFast
from agentic_fleet.events import StreamEventType
from agentic_fleet.runs import Watch
from agentic_fleet.runs.change import Change
from agentic_fleet.turns import LIVE
from agentic_fleet.web import frames, problems, views, wire
from agentic_fleet.web.callers import subprotocol
from agentic_fleet.web.clock import Clock
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
        self._line: list[Message] = []  # at most LINE
        self._obeying = False
        self._shorter = Change()  # the line
        self._sent = Change()
        self._clock = Clock(self._settings)
        self._watched: dict[str, Watch] = {}
        self._through = Change()  # a watched run: everything has been written
        self._newest: str | None = None
        self._goodbye: _Goodbye | None = None

    async def serve(self) -> None:
        """Until either side hangs up. Raises Busy before the socket is accepted, which answers the handshake."""
        with streams_of(self._socket).place():
            try:
                await self._socket.accept(subprotocol(self._socket))
                async with anyio.create_task_group() as self._tasks:
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
        mute_until = anyio.current_time() + self._settings.first_frame
        while True:
            message: Message | None = None
            with anyio.CancelScope(deadline=min(mute_until, self._clock.next_look)):
                message = await self._next()
            if message is None and anyio.current_time() >= mute_until:
                reason = f"No frame came within {self._settings.first_frame:g} s."
                self._goodbye = _Goodbye(1008, reason, _refusal(Invalid(reason)))
            elif message is None:
                self._goodbye = self._look()
            elif message["type"] != "websocket.receive":
                return
            else:
                mute_until = math.inf
                self._goodbye = self._refused(message)
            if self._goodbye:
                return
            if message:
                self._hear(message)

    async def _next(self) -> Message:
        """What the peer sends, once there is room for it in the line."""
        while len(self._line) >= LINE:
            await self._shorter.wait()
        return await self._socket.receive()

    def _refused(self, message: Message) -> _Goodbye | None:
        """Why the peer must go because of this frame, if it must."""
        limit = self._settings.max_body
        if len(message.get("bytes") or (message.get("text") or "").encode()) > limit:
            return _Goodbye(1009, f"A frame was larger than {limit} bytes.")
        try:
            self._rate.take(context.caller.get())
        except TooFast as error:
            return _Goodbye(4429, str(error), _refusal(error))
        return None

    def _hear(self, message: Message) -> None:
        self._line.append(message)
        if not self._obeying:
            self._obeying = True
            self._tasks.start_soon(self._obey)

    async def _obey(self) -> None:
        """What stands in the line. Between frames there is no such task: most sockets say one thing and listen."""
        while self._line:
            message = self._line.pop(0)
            self._shorter.tell()
            try:
                await self._do(_frame(message))
            except FleetError as error:
                await self._say(_refusal(error))
            await checkpoint()  # a run that is watched now speaks before the next frame is answered
        self._obeying = False

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
            if known.state.status in LIVE:
                raise Conflict("This socket watches that run already.")
            while run_id in self._watched:  # it has ended (and may go on since): its end comes before what follows
                await self._through.wait()
        self._check_room()
        watch = await self._runs.watch(run_id, after)
        self._watched[run_id] = watch
        self._newest = run_id
        self._tasks.start_soon(self._follow, watch)

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
        for run_id, watch in self._watched.items():
            state = watch.state
            if request_id in state.answers or any(each.request_id == request_id for each in state.pending_requests):
                return run_id
        raise NotFound("No run on this socket has this request.")

    def _check_room(self) -> None:
        if len(self._watched) >= WATCHED:
            raise Busy(f"A socket can watch {WATCHED} runs at once.")

    async def _follow(self, watch: Watch) -> None:
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
            self._through.tell()

    async def _say(self, *frames: bytes) -> None:
        """Return when the frames have been written. Cancelled when the peer is gone; the reader learns it too, or has
        already."""
        while self._clock.sending:
            await self._sent.wait()
        try:
            for frame in frames:
                self._clock.begin()
                await self._send(frame)
        except WebSocketDisconnect:
            self._tasks.cancel_scope.cancel("nobody reads")
            await checkpoint()
        finally:
            self._clock.end()
            self._sent.tell()

    def _look(self) -> _Goodbye | None:
        """Why the peer must go, if it has taken no bytes for too long; it may still want to cancel until then. After a
        silence, it gets a heartbeat."""
        match self._clock.look():
            case "stalled":
                logger.info("cut a socket that took no bytes for %g s", self._settings.send_timeout)
                return _Goodbye(1013, "Too slow: reconnect and watch.")
            case "silent":
                self._tasks.start_soon(self._say, views.notice(StreamEventType.HEARTBEAT))
        return None

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

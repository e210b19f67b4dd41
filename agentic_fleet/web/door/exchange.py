"""One request at the door: a run that is started, told in the client's dialect, and ended when the client leaves.

The protocol knows no reconnecting, so a client that is gone will never read the answer: its run is cancelled at once.
A run that waits for a human is not: it is answered elsewhere, where its readers are.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import anyio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from agentic_fleet.errors import FleetError
from agentic_fleet.runs import Watch
from agentic_fleet.turns import RunState
from agentic_fleet.web import views
from agentic_fleet.web.door.refusals import Refusal
from agentic_fleet.web.door.told import Answer, Outcome, outcome, read, thought
from agentic_fleet.web.parts import parts_of, streams_of
from agentic_fleet.web.problems import kind_of
from agentic_fleet.web.tail import EventStream, Tail

logger = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: readers skip it, proxies see life. The dialects have no event for it."""
LEAVING = 10.0
"""Seconds a run gets to end when its client has left; it ends without being watched, too."""


class Dialect(Protocol):
    """How one run is told. The frames of a stream are made in order, and nothing after the last one."""

    def begin(self) -> bytes: ...

    def thought(self, line: str) -> bytes: ...

    def delta(self, text: Any) -> bytes:
        """`text` is a JSON string, ready to be sent."""
        ...

    def completed(self, answer: Answer) -> bytes: ...

    def failed(self, refusal: Refusal) -> bytes: ...

    def whole(self, answer: Answer) -> Mapping[str, Any]:
        """The JSON of an answer that is not streamed."""
        ...


class Exchange:
    """One per request; returned by an endpoint as its response.

    What `starting` raises becomes a status code, and so does the failure of a run that is not streamed.
    """

    def __init__(
        self,
        request: Request,
        starting: Callable[[], Awaitable[RunState]],
        dialect: Callable[[RunState], Dialect],
        *,
        streamed: bool,
    ) -> None:
        self._request = request
        self._parts = parts_of(request)
        self._starting = starting
        self._dialect = dialect
        self._streamed = streamed
        self._settled = False  # nothing is left to cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with streams_of(self._request).place():
            state = await self._starting()
            try:
                with await self._parts.runs.watch(state.run_id) as watch:
                    answering = self._stream if self._streamed else self._answer
                    await answering(watch, self._dialect(state), scope, receive, send)
            finally:
                if not self._settled:
                    await self._abandon(state.run_id)

    async def _stream(self, watch: Watch, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._parts.settings
        tail = Tail(watch)
        leaving = streams_of(self._request).leaving
        stream = EventStream(self._chunks(watch, tail, dialect), tail, settings, leaving, _named(watch))
        await stream(scope, receive, send)

    async def _chunks(self, watch: Watch, tail: Tail, dialect: Dialect) -> AsyncIterator[bytes]:
        """The run as ready frames. No scope is held over a `yield`."""
        yield dialect.begin()
        while not self._settled:
            try:
                records = await tail.next()
            except FleetError as error:
                logger.warning("a stream broke off: %s", error)
                yield dialect.failed(_refusal(error))
                return
            if records is None:
                yield KEEP_ALIVE
                continue
            frames = []
            for record in records:
                told = read(record)
                if told.type == "response.delta":
                    frames.append(dialect.delta(told.delta))
                elif line := thought(told):
                    frames.append(dialect.thought(line))
                elif found := outcome(told, watch.run_id):
                    frames.append(self._last(found, dialect))
                    break
            if not records:  # the service leaves, and ends the run
                frames.append(self._last(_broken_off(), dialect))
            if chunk := b"".join(frames):
                yield chunk

    def _last(self, found: Outcome, dialect: Dialect) -> bytes:
        self._settled = True
        return dialect.completed(found) if isinstance(found, Answer) else dialect.failed(found)

    async def _answer(self, watch: Watch, dialect: Dialect, scope: Scope, receive: Receive, send: Send) -> None:
        found: Outcome | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_leave_with_client, receive, tasks.cancel_scope)
            found = await self._outcome(watch)
            tasks.cancel_scope.cancel("there is an outcome")
        if found is None:
            return
        if isinstance(found, Answer):
            response = views.reply(dialect.whole(found), headers=_named(watch))
        else:
            response = found.response(_named(watch))
        await response(scope, receive, send)

    async def _outcome(self, watch: Watch) -> Outcome:
        try:
            while records := await watch.next():
                for record in records:
                    if found := outcome(read(record), watch.run_id):
                        self._settled = True
                        return found
        except FleetError as error:  # the run goes on, but nobody hears of it any more
            return _refusal(error)
        return _broken_off()

    async def _abandon(self, run_id: str) -> None:
        logger.info("a run has lost its client and is cancelled")
        with anyio.move_on_after(LEAVING, shield=True):
            try:
                await self._parts.runs.cancel(run_id)
            except FleetError as error:
                logger.warning("a run without its client could not be cancelled: %s", error)


async def _leave_with_client(receive: Receive, scope: anyio.CancelScope) -> None:
    """A plain handler is not told that its client has left: it has to ask."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel("the client has left")


def _named(watch: Watch) -> dict[str, str]:
    return {"X-Run-ID": watch.run_id}


def _refusal(error: FleetError) -> Refusal:
    return Refusal(str(error), status=kind_of(error).status)


def _broken_off() -> Refusal:
    return Refusal("The service stopped before the answer was complete.", status=503, code="run_interrupted")

"""The two ways to follow a run, behind one face: what a test says of `Transport` holds for SSE and the WebSocket."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from tests.web.peer import chat
from tests.web.site import Event, Site


class Follower(Protocol):
    async def next(self) -> Event:
        """The next event of the run, with its id; no heartbeat."""
        ...

    async def rest(self) -> list[Event]:
        """All events up to `done`."""
        ...


class Transport(Protocol):
    name: str

    def follow(self, it: Site, run_id: str, after: int = 0) -> AbstractAsyncContextManager[Follower]:
        """Watch a run from a cursor; leaving the block hangs up, wherever the stream is."""
        ...

    def ask(self, it: Site, message: str, **ask: Any) -> AbstractAsyncContextManager[Follower]:
        """Start a run and watch it."""
        ...

    async def refusal(self, it: Site, run_id: str, after: Any) -> int:
        """The status with which a cursor is refused."""
        ...


class Sse:
    name = "sse"

    @asynccontextmanager
    async def follow(self, it: Site, run_id: str, after: int = 0) -> AsyncIterator[Follower]:
        async with it.stream(f"/api/v1/runs/{run_id}/events", {"Last-Event-ID": f"{run_id}:{after}"}) as reader:
            yield reader

    @asynccontextmanager
    async def ask(self, it: Site, message: str, **ask: Any) -> AsyncIterator[Follower]:
        run = await it.start(message, **ask)
        async with self.follow(it, run["run_id"]) as reader:
            yield reader

    async def refusal(self, it: Site, run_id: str, after: Any) -> int:
        answer = await it.http.get(f"/api/v1/runs/{run_id}/events", params={"after": after})
        return answer.status_code


class Socket:
    name = "socket"

    def follow(self, it: Site, run_id: str, after: int = 0) -> AbstractAsyncContextManager[Follower]:
        return self._open(it, {"type": "watch", "run_id": run_id, "after": after})

    def ask(self, it: Site, message: str, **ask: Any) -> AbstractAsyncContextManager[Follower]:
        return self._open(it, {"type": "task", "message": message, **ask})

    async def refusal(self, it: Site, run_id: str, after: Any) -> int:
        async with self._open(it, {"type": "watch", "run_id": run_id, "after": after}) as told:
            event = await told.next()
            assert event["type"] == "error" and "id" not in event
            return int(event["data"]["status"])

    @asynccontextmanager
    async def _open(self, it: Site, frame: Event) -> AsyncIterator[Follower]:
        async with chat(it) as talk:
            await talk.say(frame)
            yield talk

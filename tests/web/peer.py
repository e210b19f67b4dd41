"""The other end of the chat WebSocket, through a client library that is not ours."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.web.site import Event, Site


class Chat:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, frame: Any) -> None:
        await self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    async def hear(self) -> Event:
        """The next frame that is no heartbeat."""
        while True:
            frame: Event = json.loads(await self.socket.recv())
            if frame["type"] != "heartbeat":
                return frame

    async def until_done(self) -> list[Event]:
        events = [await self.hear()]
        while events[-1]["type"] != "done":
            events.append(await self.hear())
        return events

    next = hear
    rest = until_done

    async def closed(self) -> int:
        """The code the server hangs up with, whatever it says before."""
        try:
            while True:
                await self.socket.recv()
        except ConnectionClosed:
            assert self.socket.close_code
            return self.socket.close_code


@asynccontextmanager
async def chat(it: Site, **more: Any) -> AsyncIterator[Chat]:
    url = it.url.replace("http", "ws") + "/api/ws/chat"
    # Without a bound on its queue: the library reads no close frame behind more unread frames than that.
    async with connect(url, **{"proxy": None, "compression": None, "max_queue": None, **more}) as socket:
        yield Chat(socket)

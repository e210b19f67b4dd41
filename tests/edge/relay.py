"""A TCP relay that breaks connections: after so many bytes of an answer, wherever in a frame that is."""

import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Relay:
    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = parts.hostname or "", parts.port or 0
        self._limits: list[int] = []
        self._open: set[anyio.CancelScope] = set()
        self._cut = anyio.Event()
        self.url = ""
        self.cuts = 0

    def cut_after(self, limits: Iterable[int]) -> None:
        """Break all connections; of the next ones, each brings down one limit's bytes until the limits are used up."""
        self._limits = list(limits)
        for connection in self._open:
            connection.cancel("cut")

    async def has_cut(self, times: int) -> None:
        while self.cuts < times:
            await self._cut.wait()

    async def serve(self, client: SocketStream) -> None:
        async with client, await anyio.connect_tcp(*self._target) as server, anyio.create_task_group() as tasks:
            self._open.add(tasks.cancel_scope)
            try:
                tasks.start_soon(self._up, client, server, tasks.cancel_scope)
                await self._down(server, client)
                tasks.cancel_scope.cancel("the server has hung up, or this was cut")
            finally:
                self._open.discard(tasks.cancel_scope)

    async def _up(self, client: SocketStream, server: SocketStream, connection: anyio.CancelScope) -> None:
        try:
            async for part in client:
                await server.send(part)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        connection.cancel("the client has hung up")

    async def _down(self, server: SocketStream, client: SocketStream) -> None:
        left: float | None = None
        try:
            async for part in server:
                if left is None:  # counted from the first byte: browsers open connections that they do not use
                    left = self._limits.pop(0) if self._limits else float("inf")
                if len(part) > left:
                    await client.send(part[: int(left)])
                    self.cuts += 1
                    self._cut.set()
                    self._cut = anyio.Event()
                    client.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    return
                await client.send(part)
                left -= len(part)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


@asynccontextmanager
async def relay(target: str) -> AsyncIterator[Relay]:
    it = Relay(target)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, it.serve)
        it.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        yield it
        tasks.cancel_scope.cancel("the test is over")

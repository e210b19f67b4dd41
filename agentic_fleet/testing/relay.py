"""A wire that a test can cut, reset, stall and slow down: TCP on loopback, passed on to a service.

On plain sockets, because only they say exactly how a connection ends: with a FIN, as when a program closes it, or with
a RST, as when a machine has forgotten it.
"""

import socket
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio

from agentic_fleet.testing.beside import tasks_beside

CHUNK = 16_384
BUFFER = 65_536
"""Bytes that the kernel is asked to hold on either side of the wire, so that little is under way on one that stalls."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a RST
Limits = int | Iterable[int] | None


class Relay:
    """Reached at `url`, which leads to the service. What is set here counts for all connections at once."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open: dict[anyio.CancelScope, tuple[socket.socket, ...]] = {}
        self._flowing = anyio.Event()
        self._flowing.set()
        self._cut = anyio.Event()
        self._limits: Iterator[int] | int | None = None
        self.url = ""
        self.connections = 0
        """Those that were ever made."""
        self.cuts = 0
        """Those that `cut_after` has broken."""
        self.speed: float | None = None
        """Bytes a second that each connection brings from the service; None: as many as come."""

    @property
    def cut_after(self) -> Limits:
        """Bytes from the service after which each connection made from now on breaks. Several: one for each, counted
        by those that bring a byte at all, until they are used up. None: none breaks."""
        return self._limits

    @cut_after.setter
    def cut_after(self, limits: Limits) -> None:
        self._limits = limits if limits is None or isinstance(limits, int) else iter(limits)

    def cut(self) -> None:
        """Close every open connection now, on both sides; what was under way may arrive."""
        for scope in list(self._open):
            scope.cancel("the wire was cut")

    def reset(self) -> None:
        """The same without a farewell: both sides get a RST."""
        for ends in self._open.values():
            for end in ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.cut()

    def stall(self) -> None:
        """Take nothing more from the service, until `flow`; what clients say goes through."""
        self._flowing = anyio.Event()

    def flow(self) -> None:
        self._flowing.set()

    async def has_cut(self, times: int) -> None:
        """Return when there were so many `cuts`."""
        while self.cuts < times:
            await self._cut.wait()

    async def serve(self, listener: socket.socket) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listener)
                with suppress(OSError):  # it has left already
                    client, _ = listener.accept()
                    self.connections += 1
                    tasks.start_soon(self._connect, client)

    async def _connect(self, client: socket.socket) -> None:
        with client, _socket() as service:
            client.setblocking(False)
            try:
                with suppress(BlockingIOError):
                    service.connect(self._target)
                await anyio.wait_writable(service)
                async with anyio.create_task_group() as tasks:
                    self._open[tasks.cancel_scope] = client, service
                    try:
                        tasks.start_soon(_pass_up, client, service, tasks.cancel_scope)
                        await self._pass_down(service, client)
                        tasks.cancel_scope.cancel("the service has hung up, or the wire was cut")
                    finally:
                        del self._open[tasks.cancel_scope]
            except OSError:
                pass  # there is no service

    async def _pass_down(self, service: socket.socket, client: socket.socket) -> None:
        left: int | None = None
        with suppress(OSError):
            while True:
                await self._flowing.wait()
                part = await _receive(service)
                await self._flowing.wait()
                if not part:
                    return
                if left is None and self._limits is not None:
                    left = self._limits if isinstance(self._limits, int) else next(self._limits, None)
                if left is not None and len(part) >= left:
                    await _send(client, part[:left])
                    self._break()
                    return
                await _send(client, part)
                left = left if left is None else left - len(part)
                if self.speed:
                    await anyio.sleep(len(part) / self.speed)

    def _break(self) -> None:
        self.cuts += 1
        self._cut.set()
        self._cut = anyio.Event()


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[Relay]:
    """A relay to the service at `url`, on a free port; gone when the block is left."""
    target = urlsplit(url)
    it = Relay(target.hostname or "127.0.0.1", target.port or 80)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        it.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with tasks_beside() as tasks:
            tasks.start_soon(it.serve, listener)
            yield it
            tasks.cancel_scope.cancel("the relay goes")


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    return made


async def _pass_up(client: socket.socket, service: socket.socket, both: anyio.CancelScope) -> None:
    """What the client says; when it says no more, the service hears that, and may go on."""
    try:
        while part := await _receive(client):
            await _send(service, part)
        service.shutdown(socket.SHUT_WR)
    except OSError:
        both.cancel("one side has gone")


async def _receive(source: socket.socket) -> bytes:
    while True:
        with suppress(BlockingIOError):
            return source.recv(CHUNK)
        await anyio.wait_readable(source)


async def _send(sink: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        with suppress(BlockingIOError):
            rest = rest[sink.send(rest) :]
            continue
        await anyio.wait_writable(sink)

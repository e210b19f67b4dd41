"""A wire that a test can cut: TCP on loopback, passed on to a service, until told otherwise."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream

from agentic_fleet.testing.beside import tasks_beside

CHUNK = 65536


class Relay:
    """Reached at `url`, which leads to the service. `connections` counts those that were ever made."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open: set[anyio.CancelScope] = set()
        self.url = ""
        self.connections = 0
        self.cut_after: int | None = None
        """Bytes from the service after which each connection made from now on breaks; None: none does."""

    def cut(self) -> None:
        """Break every open connection now."""
        for scope in list(self._open):
            scope.cancel("the wire was cut")

    async def serve(self, client: SocketStream) -> None:
        self.connections += 1
        left = self.cut_after
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            try:
                service = await anyio.connect_tcp(*self._target)
                async with client, service, anyio.create_task_group() as tasks:
                    tasks.start_soon(_pass, client, service, None, scope)
                    tasks.start_soon(_pass, service, client, left, scope)
            except* OSError:
                pass  # there is no service
            finally:
                self._open.discard(scope)
                await anyio.aclose_forcefully(client)


@asynccontextmanager
async def relay(url: str) -> AsyncIterator[Relay]:
    """A relay to the service at `url`, on a free port; gone when the block is left."""
    target = urlsplit(url)
    it = Relay(target.hostname or "127.0.0.1", target.port or 80)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, tasks_beside() as tasks:
        tasks.start_soon(listener.serve, it.serve)
        it.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        yield it
        tasks.cancel_scope.cancel("the relay goes")


async def _pass(source: SocketStream, sink: SocketStream, left: int | None, both: anyio.CancelScope) -> None:
    """Bytes in one direction, `left` of them at most. Its end is the end of both directions."""
    try:
        while left is None or left > 0:
            part = await source.receive(CHUNK if left is None else min(left, CHUNK))
            await sink.send(part)
            left = left if left is None else left - len(part)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    both.cancel("one side has ended")

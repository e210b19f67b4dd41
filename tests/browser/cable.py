"""A network cable between a browser and a service: it can be pulled out, and put in again at another service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup


class Cable:
    """`url` is its near end and stays the same. Without a far end, connections are refused."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._port = 0
        self._plugged: anyio.CancelScope | None = None
        self._out = anyio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def plug(self, url: str) -> None:
        """New connections lead to the service at `url` from now on."""
        await self.pull()
        await self._tasks.start(self._carry, int(url.rpartition(":")[2]))

    async def pull(self) -> None:
        """All connections break, new ones are refused."""
        if self._plugged:
            self._plugged.cancel("pulled out")
            await self._out.wait()

    async def _carry(self, port: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async def connect(near: SocketStream) -> None:
            async with near:
                with suppress(OSError):
                    async with await anyio.connect_tcp("127.0.0.1", port) as far, anyio.create_task_group() as both:
                        both.start_soon(_pump, near, far, both.cancel_scope)
                        both.start_soon(_pump, far, near, both.cancel_scope)

        self._out = anyio.Event()
        try:
            with anyio.CancelScope() as self._plugged:
                async with await anyio.create_tcp_listener(
                    local_host="127.0.0.1", local_port=self._port, reuse_port=False
                ) as listener:
                    self._port = listener.extra(SocketAttribute.local_port)
                    task_status.started()
                    await listener.serve(connect)
        finally:
            self._out.set()


@asynccontextmanager
async def cable(url: str = "") -> AsyncIterator[Cable]:
    """One that leads to the service at `url`, or nowhere yet; the service may leave before the cable does."""
    async with anyio.create_task_group() as tasks:
        it = Cable(tasks)
        if url:
            await it.plug(url)
        try:
            yield it
        finally:
            await it.pull()


async def _pump(source: ByteStream, target: ByteStream, leave: anyio.CancelScope) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await target.send(await source.receive())
    leave.cancel("one end has closed")

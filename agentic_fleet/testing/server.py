"""A real uvicorn on loopback, in the test's own event loop: what a client sees is what a deployed service sends."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn

from agentic_fleet.testing.beside import tasks_beside


@asynccontextmanager
async def serving(app: Any, **uvicorn_config: Any) -> AsyncIterator[str]:
    """Serve the ASGI `app` on a free port; yields ``http://127.0.0.1:PORT``.

    Leaving the block stops it: open answers get `timeout_graceful_shutdown` (1 s) to end, then they are cancelled.
    `uvicorn_config` goes to `uvicorn.Config`.
    """
    options: dict[str, Any] = {"log_config": None, "access_log": False, "timeout_graceful_shutdown": 1}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server = _Server(uvicorn.Config(app, **(options | uvicorn_config)))
        async with tasks_beside() as tasks:
            tasks.start_soon(server.serve_to_the_end, listener)
            await server.up.wait()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.leave.set()


class _Server(uvicorn.Server):
    """Leaves signals alone, says when it listens, and stops when told instead of at its next look."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = anyio.Event()
        self.leave = anyio.Event()

    async def serve_to_the_end(self, listener: socket.socket) -> None:
        with anyio.CancelScope(
            shield=True
        ):  # a failed test must not leave sockets behind: their warnings would hide it
            await self.serve([listener])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # would end the test process
            raise RuntimeError("the app's lifespan failed at start") from None
        self.up.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.leave.wait()

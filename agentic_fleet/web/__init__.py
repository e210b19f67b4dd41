"""Talking: HTTP, SSE and WebSocket over the same runs. Starlette is used in this room and nowhere else."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware

from agentic_fleet.web import problems
from agentic_fleet.web.callers import Identify
from agentic_fleet.web.middleware import Cors, Gate, RequestId
from agentic_fleet.web.parts import Parts, State, state_of
from agentic_fleet.web.proxied import Proxied
from agentic_fleet.web.routes import ROUTES
from agentic_fleet.web.tail import listen_for_shutdown

__all__ = ["Parts", "create_app"]


def create_app(open_parts: Callable[[], AbstractAsyncContextManager[Parts]]) -> Starlette:
    """The ASGI application. Its lifespan opens the parts and closes them when every connection has ended."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        async with open_parts() as parts, anyio.create_task_group() as tasks:
            state = state_of(parts)
            tasks.start_soon(listen_for_shutdown, state["streams"].leaving)
            try:
                yield state
            finally:
                tasks.cancel_scope.cancel("the service is closed")

    app = Starlette(
        routes=ROUTES,
        middleware=[Middleware(each) for each in (Proxied, RequestId, Cors, Gate, Identify)],
        exception_handlers=problems.HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # its redirect would be built from the Host header, which anybody can forge
    return app

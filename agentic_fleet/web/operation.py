"""One method of one path: who handles it, what it takes and what it answers. routes.py lists them all.

The handler checks what comes in by itself; what is said here is for clients (openapi.py), and a property test compares
the two.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from agentic_fleet import context
from agentic_fleet.errors import Forbidden
from agentic_fleet.web import wire
from agentic_fleet.web.parts import is_operator

Handler = Callable[[Request], Awaitable[ASGIApp]]
Header = Literal["Idempotency-Key", "Last-Event-ID"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`answers` has the successes: status to type, None for no body. `stream`: 200 can be Server-Sent Events.

    `media`: types that 200 can have besides, for browsers. `openai`: its frames and its refusals are OpenAI's, and it
    ignores what it does not know. `operators`: it changes something for all callers, so it is refused with 403 to those
    who are not named in `FLEET_OPERATORS`, if that names anybody.
    """

    handler: Handler
    summary: str
    query: tuple[type[Struct], ...] = (wire.NoQuery,)
    headers: tuple[Header, ...] = ()
    body: type[Struct] | None = None
    answers: Mapping[int, Any] = field(default_factory=dict)
    stream: bool = False
    media: tuple[str, ...] = ()
    openai: bool = False
    operators: bool = False


def route_of(scope: Scope) -> str | None:
    """The path of the route that a request has reached, with its parameters' names; None before it has."""
    return getattr(scope.get("endpoint"), "path", None)


class Resource(Route):
    """A path with all its methods in one route, so that a 405 names them all. HEAD is GET's (RFC 9110, 9.3.2)."""

    def __init__(self, path: str, **operations: Operation) -> None:
        async def endpoint(request: Request) -> ASGIApp:
            operation = operations["GET" if request.method == "HEAD" else request.method]
            if operation.operators and not is_operator(request, context.caller.get()):
                raise Forbidden("Only operators may do this: it changes how the team decides for everybody.")
            return await operation.handler(request)

        endpoint.path = path  # type: ignore[attr-defined]  # a function is what a route takes for a handler of requests
        super().__init__(path, endpoint, methods=list(operations))
        self.operations = operations

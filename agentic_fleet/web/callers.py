"""Who is calling: a key or a session, checked before any handler runs, bound to `context.caller`. Pure ASGI.

Without keys there is one caller, "local". What a caller may see is decided in one place, runs/__init__.py.
"""

from msgspec import Struct
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from agentic_fleet import context
from agentic_fleet.conversations import LOCAL
from agentic_fleet.errors import Unauthenticated
from agentic_fleet.keys import SESSION
from agentic_fleet.web import problems, views, wire
from agentic_fleet.web.parts import is_operator, keys_of
from agentic_fleet.web.proxied import inner_path, link

COOKIE = "fleet_session"
PROTOCOL = "bearer"
"""The subprotocol that a client offers in front of its key, since browsers let a WebSocket carry nothing else."""

_OPEN = frozenset({"/", "/health", "/ready", "/api/v1/sign-in", "/api/v1/sign-out"})
_PAGE = "/console/"  # what the page at / is made of
_NOBODY = ""  # not a name that a key can have


class Identify:
    """Binds the caller, or refuses: 401, and for a WebSocket close code 4401, which its page can see."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        connection = HTTPConnection(scope)
        caller = caller_of(connection)
        if caller is None and not _is_open(inner_path(scope)):
            return await _refuse(connection, receive, send)
        with context.bind(caller=_NOBODY if caller is None else caller):
            await self._app(scope, receive, send)


def caller_of(connection: HTTPConnection) -> str | None:
    """None when keys are needed and none of ours was shown. A key that was shown decides, whatever cookie is there."""
    keys = keys_of(connection)
    if not keys:
        return LOCAL
    if header := connection.headers.get("authorization"):
        scheme, _, key = header.partition(" ")
        return keys.caller(key.strip()) if scheme.lower() == "bearer" else None
    if (offered := connection.scope.get("subprotocols")) and offered[0] == PROTOCOL and len(offered) > 1:
        return keys.caller(offered[1])
    return keys.caller_of_session(connection.cookies.get(COOKIE, ""))


def subprotocol(socket: WebSocket) -> str | None:
    """What to answer a client that has offered its key: a browser takes silence for a refusal."""
    return PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None


class SignInBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str


async def sign_in(request: Request) -> Response:
    """A session for the page: the cookie cannot be read by scripts, and no other site's page sends it."""
    wire.query(request, wire.NoQuery)
    keys, body = keys_of(request), await wire.body(request, SignInBody)
    if not keys:
        return views.reply(_told(request, LOCAL))
    session = keys.session(body.key)
    if session is None:
        raise Unauthenticated("This is no key of ours.")
    caller = keys.caller(body.key) or _NOBODY
    return views.reply(_told(request, caller), headers=_cookie(request, session, SESSION))


async def sign_out(request: Request) -> Response:
    """The cookie is forgotten. A session that was copied elsewhere ends with its time or its key."""
    wire.query(request, wire.NoQuery)
    return Response(status_code=204, headers=_cookie(request, "", 0))


async def show_caller(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    return views.reply(_told(request, context.caller.get()))


def _told(request: Request, caller: str) -> views.CallerView:
    return {"caller": caller, "operator": is_operator(request, caller)}


def _cookie(request: Request, value: str, seconds: int) -> dict[str, str]:
    secure = "; Secure" if request.url.scheme == "https" else ""
    path = link(request, "/")
    cookie = f"{COOKIE}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    return {"Set-Cookie": cookie, "Cache-Control": "no-store"}


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_PAGE)


async def _refuse(connection: HTTPConnection, receive: Receive, send: Send) -> None:
    error = Unauthenticated("This needs a key: Authorization: Bearer KEY.")
    if connection.scope["type"] == "http":
        response = await problems.fleet_error(connection, error)
        return await response(connection.scope, receive, send)
    socket = WebSocket(connection.scope, receive, send)
    await socket.accept(subprotocol(socket))  # a refused handshake would tell the page nothing
    await socket.close(4401, "Not authenticated.")

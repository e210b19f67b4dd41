"""Around every request and socket: a request id, and a gate that refuses before anything is read. Pure ASGI.

`RequestId` is also the outermost boundary: what nobody expected is logged there once and answered without details.
"""

import logging
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentic_fleet import context
from agentic_fleet.conversations import new_id
from agentic_fleet.web.parts import parts_of
from agentic_fleet.web.problems import problem

logger = logging.getLogger(__name__)

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class RequestId:
    """Takes the client's X-Request-ID when it is sane, else makes one; binds it and sends it back on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE.fullmatch(given) else new_id()
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] in _STARTS:
                started = True
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with context.bind(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                logger.exception("a request failed unexpectedly")
                if not started:
                    await problem(500, "Something went wrong here.")(scope, receive, send_with_id)


class Gate:
    """Refuses pages of other origins (they could post and open sockets in a visitor's name) and bodies too big."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        settings, headers = parts_of(HTTPConnection(scope)).settings, Headers(scope=scope)
        guarded = scope["type"] == "websocket" or scope["method"] in _UNSAFE
        if guarded and not _is_welcome(headers, settings.allowed_origins):
            return await problem(403, "Pages of this origin may not do that.")(scope, receive, send)
        if _announced(headers) > settings.max_body:
            return await problem(413, f"The body is larger than {settings.max_body} bytes.")(scope, receive, send)
        await self._app(scope, receive, send)


def _is_welcome(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """No origin (not a browser's page), the same origin, or a listed one."""
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return True
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def _announced(headers: Headers) -> int:
    """Bytes that Content-Length announces; a chunked body announces none and is counted while it is read."""
    length = headers.get("content-length", "")
    return int(length[:18]) if length.isdecimal() else 0

"""Around every request and socket: a request id, a word to other origins, and a gate that refuses early. Pure ASGI.

`RequestId` is also the outermost boundary: what nobody expected is logged there once and answered without details.
"""

import logging
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentic_fleet import context
from agentic_fleet.conversations import new_id
from agentic_fleet.settings import Settings, is_loopback
from agentic_fleet.web.operation import route_of
from agentic_fleet.web.parts import parts_of
from agentic_fleet.web.problems import problem

logger = logging.getLogger(__name__)

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TOLD = ("Location", "Retry-After", "X-Request-ID", "X-Run-ID")


class RequestId:
    """Takes the client's X-Request-ID when it is sane, else makes one; binds it and sends it back on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE.fullmatch(given) else new_id()
        parts = parts_of(HTTPConnection(scope))
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] in _STARTS:
                started = True
                if message["type"] == "http.response.start":
                    route, status = route_of(scope), message["status"]
                    parts.metrics.answered(scope["method"], route, status)
                    traced(route, status)
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with context.bind(request_id=request_id), parts.tracing.request(scope, request_id) as traced:
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                logger.exception("a request failed unexpectedly")
                if not started:
                    await problem(500, "Something went wrong here.")(scope, receive, send_with_id)


class Cors:
    """Lets pages of the listed origins read what we answer, and nobody else's (Fetch standard, CORS protocol).

    Without credentials: cookies stay with our own pages, others send their key in a header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._listed: tuple[tuple[str, ...], CORSMiddleware] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        origins = parts_of(HTTPConnection(scope)).settings.allowed_origins
        if not origins:
            return await self._app(scope, receive, send)
        if self._listed is None or self._listed[0] != origins:  # settings are known when the lifespan has begun
            listed = CORSMiddleware(
                self._app,
                allow_origins=origins,
                allow_methods=("GET", "POST", "PATCH", "DELETE"),
                allow_headers="*",  # the listed origins are trusted, and SDKs send headers of their own
                expose_headers=_TOLD,
            )
            self._listed = origins, listed
        await self._listed[1](scope, receive, send)


class Gate:
    """Refuses, before anything is read: names that are not ours, pages of other origins, bodies that are too big.

    A page of another origin could post, open sockets and start runs in a visitor's name. A page of another name that
    was made to point at this machine (DNS rebinding) would be of the same origin: hence the names.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        await (_refusal(scope) or self._app)(scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    settings, headers = parts_of(HTTPConnection(scope)).settings, Headers(scope=scope)
    if refusal := _unknown_host(scope, headers, settings) or _foreign_page(scope, headers, settings):
        return refusal
    if _announced(headers) > settings.max_body:
        return problem(413, f"The body is larger than {settings.max_body} bytes.")
    return None


def _unknown_host(scope: Scope, headers: Headers, settings: Settings) -> Response | None:
    """Without keys only this machine is served, whoever opened the address, unless that is meant to be otherwise."""
    private = not settings.api_keys and not settings.insecure
    reached = (scope.get("server") or (None, None))[0]
    if private and reached and not is_loopback(reached):
        return problem(403, "Without keys this service serves its own machine only.")
    named = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    if settings.allowed_hosts or private:
        known = named in settings.allowed_hosts or (not settings.allowed_hosts and is_loopback(named))
        return None if known else problem(400, "This is no name of this service (FLEET_ALLOWED_HOSTS).")
    return None


def _foreign_page(scope: Scope, headers: Headers, settings: Settings) -> Response | None:
    """Reading is left to the browser's own rules; a stream's URL is guarded too, because getting it starts a run."""
    guarded = scope["type"] == "websocket" or scope["method"] in _UNSAFE or scope["path"].endswith("/stream")
    if not guarded or _is_welcome(headers, settings.allowed_origins):
        return None
    return problem(403, "Pages of this origin may not do that.")


def _is_welcome(headers: Headers, allowed: tuple[str, ...]) -> bool:
    """A listed origin, the same origin, or none at all when no browser says that another site is behind it."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") not in ("cross-site", "same-site")
    return origin in allowed or urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


def _announced(headers: Headers) -> int:
    """Bytes that Content-Length announces; a chunked body announces none and is counted while it is read."""
    length = headers.get("content-length", "")
    return int(length[:18]) if length.isdecimal() else 0

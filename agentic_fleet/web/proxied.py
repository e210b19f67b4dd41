"""Behind a reverse proxy: the client's address and scheme from trusted headers, and a path in front of all of ours.

With FLEET_ROOT_PATH=/fleet, `/fleet/health` and `/health` are the same, because some proxies strip the prefix and
some pass it on; what the service links to always carries it. Links are paths: a Host header is never part of one.
"""

from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from agentic_fleet.proxies import client_of, is_trusted, networks
from agentic_fleet.settings import Settings
from agentic_fleet.web.parts import parts_of

_SCHEMES = {"http": {"http": "http", "https": "https"}, "websocket": {"http": "ws", "https": "wss"}}


class Proxied:
    """Outermost, so that everything inside sees the request as its client has sent it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            settings = parts_of(HTTPConnection(scope)).settings
            if changes := {**_forwarded(scope, settings), **_under(settings.root_path, scope)}:
                scope = {**scope, **changes}
        await self._app(scope, receive, send)


def link(connection: HTTPConnection, path: str) -> str:
    """`path`, one of ours, as this client has to ask for it."""
    return f"{connection.scope.get('root_path', '')}{path}"


def inner_path(scope: Scope) -> str:
    """The path as the routes know it."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _forwarded(scope: Scope, settings: Settings) -> dict[str, Any]:
    trusted, peer = networks(settings.trusted_proxies), (scope.get("client") or ("",))[0]
    if not is_trusted(peer, trusted):
        return {}
    headers = Headers(scope=scope)
    client = client_of(peer, ",".join(headers.getlist("x-forwarded-for")).split(","), trusted)
    said = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return {
        "client": scope["client"] if client == peer else (client, 0),
        "scheme": _SCHEMES[scope["type"]].get(said, scope["scheme"]),
    }


def _under(root: str, scope: Scope) -> dict[str, Any]:
    """The ASGI way to say it: `path` is the whole path, `root_path` the part of it that is not ours to route."""
    path: str = scope["path"]
    if not root:
        return {}
    if path == root:
        path += "/"
    elif not path.startswith(root + "/"):
        path = root + path
    return {"root_path": root, "path": path}

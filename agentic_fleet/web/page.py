"""The console: the page at `/` and the files it is made of, from the package's own data; nothing is built or fetched.

The files have a digest of them all in their path, so browsers keep them for good and a new version is a new path. Only
the page itself is asked for again, and knows by its ETag when it is still the same. Its scripts find the service by
their own address: under a prefix, too. The files are kept compressed, and sent so to whoever can read that.
"""

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import __version__
from agentic_fleet.errors import NotFound
from agentic_fleet.web import views, wire
from agentic_fleet.web.operation import Operation, Resource
from agentic_fleet.web.proxied import link

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""Nothing from elsewhere, nothing inline; and text cannot become markup or script, whatever a model or a tool says."""
_GUARDS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_VARY = {"Vary": "Accept"}
_FOLDER = Path(__file__).parent / "console"
_LINKS = (
    "/health",
    "/ready",
    "/openapi.json",
    "/api/v1/agents",
    "/api/v1/conversations",
    "/api/v1/runs",
    "/v1/models",
    "/api/ws/chat",
)


def _digest(files: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"\0".join(name.encode() + b"\0" + body for name, body in files.items())).hexdigest()[:16]


_FILES = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}
_PACKED = {name: gzip.compress(body, mtime=0) for name, body in _FILES.items()}
_VERSION = _digest(_FILES)
_PAGE = (_FOLDER / "page.html").read_text(encoding="utf-8")


async def show_page(request: Request) -> Response:
    """The page; with `Accept: application/json`, which no browser sends for a page, where to go from here."""
    if wire.wants(request, "application/json") and not wire.wants(request, "text/html"):
        links = [link(request, path) for path in _LINKS]
        index: views.IndexView = {"service": "AgenticFleet", "version": __version__, "links": links}
        return views.reply(index, headers=_VARY)
    body = _rendered(link(request, "/") if request.scope.get("root_path") else "").encode()
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {**_GUARDS, **_VARY, "Cache-Control": "no-cache", "ETag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="text/html")


async def show_file(request: Request) -> Response:
    """One of the page's files, in this version of them. NotFound."""
    name = str(request.path_params["name"])
    if request.path_params["version"] != _VERSION or name not in _FILES:
        raise NotFound("There is no such file.")
    headers = {**_GUARDS, "Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    body = _FILES[name]
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = _PACKED[name], "gzip"
    return Response(body, headers=headers, media_type=_TYPES[Path(name).suffix])


def _rendered(root: str) -> str:
    """The page for clients that know the service by the path `root`; without one its links are relative."""
    folder = f"{root}console/{_VERSION}/"
    modules = [f'<link rel="modulepreload" href="{folder}{name}">' for name in _FILES if name.endswith(".js")]
    return _PAGE.replace('"console/', f'"{folder}').replace("<!-- modules -->", "\n".join(modules))


RESOURCES = [
    Resource(
        "/",
        GET=Operation(
            handler=show_page,
            summary="The console page; with `Accept: application/json` where to begin",
            query=(),
            answers={200: views.IndexView},
            media=("text/html",),
        ),
    ),
    Resource(
        "/console/{version}/{name}",
        GET=Operation(handler=show_file, summary="A file of the page", query=(), media=tuple(_TYPES.values())),
    ),
]

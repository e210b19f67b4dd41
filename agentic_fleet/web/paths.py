"""Paths behind a proxy: the service may live under a prefix (`FLEET_ROOT_PATH`) that clients see and routes do not."""

from starlette.requests import HTTPConnection
from starlette.types import Scope


def inner_path(scope: Scope) -> str:
    """The path as the routes know it."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    inside = prefix and (path == prefix or path.startswith(f"{prefix}/"))
    return path[len(prefix) :] or "/" if inside else path


def public_path(connection: HTTPConnection, path: str) -> str:
    """The path as clients must write it."""
    return f"{connection.scope.get('root_path', '')}{path}"

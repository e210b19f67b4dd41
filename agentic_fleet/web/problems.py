"""Errors as clients see them: `application/problem+json` (RFC 9457), or what the door speaks (door/refusals.py).

The one table from our errors to status codes.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import Response
from starlette.types import ExceptionHandler, Receive, Scope, Send

from agentic_fleet import context, errors, jsontext
from agentic_fleet.errors import FleetError
from agentic_fleet.web.door import refusals

DETAIL = 500
"""Characters of a detail that are sent: it may quote what the client sent."""


class Kind(NamedTuple):
    status: int
    title: str

    @property
    def type(self) -> str:
        """A URI that names the kind; it identifies and does not locate (RFC 9457, section 3.1.1)."""
        return f"urn:agenticfleet:{self.title.lower().replace(' ', '-')}"


_TABLE: dict[type[FleetError], Kind] = {
    errors.Unauthenticated: Kind(401, "Not authenticated"),
    errors.Forbidden: Kind(403, "Forbidden"),
    errors.NotFound: Kind(404, "Not found"),
    errors.Invalid: Kind(422, "Invalid request"),
    errors.BadCursor: Kind(400, "Bad cursor"),
    errors.Conflict: Kind(409, "Conflict"),
    # draft-ietf-httpapi-idempotency-key-header, section 2.7
    errors.KeyReused: Kind(422, "Idempotency key reused"),
    errors.Busy: Kind(503, "Busy"),
    errors.TooManyRuns: Kind(503, "Too many runs"),
    errors.Draining: Kind(503, "Shutting down"),
    errors.TooFast: Kind(429, "Too many requests"),
    errors.StoreFailed: Kind(503, "Store failed"),
    errors.ModelFailed: Kind(502, "Model failed"),
    errors.ModelBusy: Kind(503, "Model busy"),
    errors.TimedOut: Kind(504, "Timed out"),
    FleetError: Kind(500, "Internal error"),
}


def kind_of(error: FleetError) -> Kind:
    """The entry of the nearest class in the table."""
    return next(_TABLE[cls] for cls in type(error).__mro__ if cls in _TABLE)


def fields_of(error: FleetError) -> list[dict[str, str]]:
    """What is wrong with which field, for errors that know."""
    if not isinstance(error, errors.Invalid):
        return []
    return [{"field": field[:DETAIL], "problem": problem[:DETAIL]} for field, problem in error.errors]


def problem(status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """A problem that its status code describes fully."""
    return _response(status, "about:blank", HTTPStatus(status).phrase, detail, headers=headers)


async def fleet_error(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, FleetError)
    kind = kind_of(error)
    return _response(kind.status, kind.type, kind.title, str(error), errors=fields_of(error), headers=_headers(error))


async def http_exception(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, headers=error.headers)


async def client_left(connection: HTTPConnection, error: Exception) -> Response:
    """Nobody will read it; but a half-sent body is no failure of ours that should be logged."""
    return problem(400, "The request broke off.")


HANDLERS: dict[Any, ExceptionHandler] = {
    FleetError: fleet_error,
    HTTPException: http_exception,
    ClientDisconnect: client_left,
    refusals.Refusal: refusals.refused,
}


def _headers(error: FleetError) -> dict[str, str] | None:
    if isinstance(error, errors.Busy):
        return {"Retry-After": str(error.retry_after)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, errors.Unauthenticated) else None


class Problem(Response):
    """Which form it has shows where it is sent: whoever refuses a request need not know what its client speaks."""

    def __init__(self, problem: Mapping[str, Any], headers: Mapping[str, str] | None) -> None:
        super().__init__(
            jsontext.encode(problem), problem["status"], headers=headers, media_type="application/problem+json"
        )
        self._problem = problem
        self._given = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not refusals.speaks_openai(scope):
            return await super().__call__(scope, receive, send)
        fields = [each["field"] for each in self._problem.get("errors", ()) if each["field"] != "body"]
        param = fields[0] if fields else None
        told = refusals.response(self.status_code, self._problem["detail"], param=param, headers=self._given)
        await told(scope, receive, send)


def _response(
    status: int,
    type: str,
    title: str,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = {
        "type": type,
        "title": title,
        "status": status,
        "detail": detail[:DETAIL],
        "request_id": context.request_id.get(),
    }
    if errors:
        body["errors"] = errors
    return Problem(body, headers)

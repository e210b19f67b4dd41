"""How the door says no: OpenAI's error object, which its clients turn into exceptions, instead of problem details.

Everything under `/v1` is refused in this form, also what the router and the middleware refuse: problems.py asks
`speaks_openai` at the moment an answer is sent, and nobody else decides it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Scope

from agentic_fleet import jsontext
from agentic_fleet.web.proxied import inner_path

NEVER = {"X-Should-Retry": "false"}
"""OpenAI's clients obey it. They would repeat a failed run twice, at full price and with little hope."""

_KINDS: Mapping[int, tuple[str, str | None]] = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    409: ("conflict_error", None),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
"""Type and code by status; other refusals are the client's fault below 500, and the server's from there on."""


class Wording(NamedTuple):
    """What an error object says beside its message."""

    type: str
    param: str | None = None
    code: str | None = None


class Refusal(Exception):
    """The door refuses a request, or a run came to nothing. The message is safe to show."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.wording = wording(status)._replace(param=param)
        if code:
            self.wording = self.wording._replace(code=code)
        self.headers = headers

    @property
    def body(self) -> bytes:
        return body(str(self), self.wording)

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        headers = {**(self.headers or {}), **(headers or {})}
        return Response(self.body, self.status, headers=headers, media_type="application/json")


def unsupported(param: str, message: str) -> Refusal:
    """The client wants something that the fleet cannot do."""
    return Refusal(message, param=param, code="unsupported_parameter")


def wording(status: int) -> Wording:
    kind, code = _KINDS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    return Wording(kind, code=code)


def body(message: str, said: Wording) -> bytes:
    return jsontext.encode({"error": {"message": message, **said._asdict()}})


def response(
    status: int, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """What the rest of the service would tell as a problem. A request that cannot be used is a 400 here."""
    status = 400 if status == 422 else status
    said = wording(status)._replace(param=param)
    return Response(body(message, said), status, headers=headers, media_type="application/json")


async def refused(connection: HTTPConnection, error: Exception) -> Response:
    """The handler of `Refusal`."""
    assert isinstance(error, Refusal)
    return error.response()


def speaks_openai(scope: Scope) -> bool:
    path = inner_path(scope)
    return path == "/v1" or path.startswith("/v1/")

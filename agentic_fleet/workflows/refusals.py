"""A model endpoint's answer that is not 200: what it means for us, in words that are safe to show.

The provider's own text goes to the log only: it may quote keys, deployments or the prompt.
"""

from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from agentic_fleet.errors import ModelBusy, ModelFailed

MAX_BODY = 64 * 1024  # bytes read of an error's body

_BY_STATUS = {
    400: "The model endpoint rejected the request (400).",
    401: "The model endpoint refused the key (401).",
    403: "The model endpoint refused the key (403).",
    404: "The model endpoint does not know this model, or its address is not complete (404).",
    413: "The request is too long for the model endpoint (413).",
    422: "The model endpoint rejected the request (422).",
    429: "The model endpoint is overloaded (429).",
}
_BY_CODE = {
    "content_filter": "The model endpoint's content filter refused the request.",
    "context_length_exceeded": "The conversation is too long for this model.",
    "insufficient_quota": "The model endpoint's quota is used up.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`code` and `param` are OpenAI's (the kind of error; the key of the request it is about), empty when not given."""

    status: int
    code: str
    param: str
    message: str
    retry_after: float | None  # seconds

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.code != "insufficient_quota" and (self.status in (408, 429) or self.status >= 500)

    @property
    def failure(self) -> ModelFailed:
        if text := _BY_CODE.get(self.code):
            return ModelFailed(text)
        text = _BY_STATUS.get(self.status, f"The model endpoint failed ({self.status}).")
        return ModelBusy(text) if self.status == 429 else ModelFailed(text)

    def blames(self, key: str) -> bool:
        """Whether the request was refused because of this key of it. Texts decide only where no `param` is given."""
        if self.status not in (400, 422) or self.code in _BY_CODE:
            return False
        return self.param.partition(".")[0] == key if self.param else key in self.message


async def read_refusal(response: aiohttp.ClientResponse) -> Refusal:
    """Reads the body, but not more than MAX_BODY."""
    body = bytearray()
    while len(body) < MAX_BODY and (piece := await response.content.readany()):
        body += piece
    error = _error(bytes(body))
    return Refusal(
        status=response.status,
        code=str(error.get("code") or ""),
        param=str(error.get("param") or ""),
        message=str(error.get("message") or _detail(error.get("detail"))),
        retry_after=_seconds(response.headers.get("Retry-After", "")),
    )


def _error(body: bytes) -> dict[str, Any]:
    """OpenAI's `error` object; other servers put its keys at the top, FastAPI's a `detail`."""
    try:
        found = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    error = found.get("error", found)
    return error if isinstance(error, dict) else {"message": error}


def _detail(found: Any) -> str:
    """FastAPI's validation errors are a list, with the place and the problem, and with the input, which is private."""
    if not isinstance(found, list):
        return str(found or "")
    return "; ".join(f"{item.get('loc')} {item.get('msg')}" for item in found if isinstance(item, dict))


def _seconds(text: str) -> float | None:
    """RFC 9110's Retry-After in its first form; a date is left to our own pauses."""
    return float(text) if text.isascii() and text.isdigit() else None

"""A model endpoint's answer that is not 200: what it means for us, in words that are safe to show.

The provider's own text goes to the log only, and without what it quotes of the key and the conversation.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from agentic_fleet.errors import ModelBusy, ModelFailed

MAX_BODY = 64 * 1024  # bytes read of an error's body
_LOGGED = 300  # characters of a provider's text
_QUOTED = 8  # characters in a row that are taken for a quotation

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


def unquoted(text: str, messages: Any, keys: Iterable[str]) -> str:
    """The beginning of a provider's text, with … for all that it quotes of a request's `messages` and of `keys`."""
    for key in (keys := tuple(filter(None, keys))):
        text = text.replace(key, "…")
    text = text[:_LOGGED]
    private = {each[at : at + _QUOTED] for each in (*keys, *_texts(messages)) for at in range(len(each) - _QUOTED + 1)}
    hidden = bytearray(len(text))
    for at in range(len(text) - _QUOTED + 1):
        if text[at : at + _QUOTED] in private:
            hidden[at : at + _QUOTED] = b"\1" * _QUOTED
    return "".join("" if it and at and hidden[at - 1] else "…" if it else text[at] for at, it in enumerate(hidden))


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from () if key in ("role", "type") else _texts(value)
    elif isinstance(found, list | tuple):
        for each in found:
            yield from _texts(each)


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

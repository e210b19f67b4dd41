"""What clients say, checked: bodies, queries and cursors become ours here; unknown words are refused here.

The service's own API is strict (an unknown or repeated name is a mistake that must not pass silently); the chat
protocol ignores what it does not know, and of repeated parameters the last one counts. Its socket's words are in
frames.py.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import anyio
from msgspec import Meta, Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request

from agentic_fleet import jsontext
from agentic_fleet.errors import BadCursor, Invalid, NotFound
from agentic_fleet.learning.quality import THUMBS, Feedback, Thumb
from agentic_fleet.store import IdempotencyKey
from agentic_fleet.turns import Ask, Mode, OnDisconnect, ReasoningEffort, RunStatus
from agentic_fleet.web.parts import parts_of

T = TypeVar("T", bound=Struct)

BODY_TIME = 30.0
"""Seconds for a request's body."""

Id = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
Limit = Annotated[int, Meta(ge=1, le=100)]
PageLimit = Annotated[int, Meta(ge=1, le=1000)]
Offset = Annotated[int, Meta(ge=0)]

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_CURSOR = re.compile(r"(?:(?P<run>[A-Za-z0-9_-]{1,64}):)?(?P<seq>[0-9]{1,18})")
_NUMBER = re.compile(r"-?[0-9]{1,18}")


class AskWords(Struct, frozen=True, kw_only=True):
    """A question, in the words of the chat protocol."""

    message: Annotated[str, Meta(min_length=1, max_length=10_000)]
    mode: Mode = "auto"
    reasoning_effort: ReasoningEffort | None = None
    enable_checkpointing: bool = True
    on_disconnect: OnDisconnect = "continue"
    require_plan_approval: bool = False

    def ask(self) -> Ask:
        """Raises Invalid for a message of whitespace."""
        if not self.message.strip():
            raise _invalid("message", "must not be only whitespace")
        return Ask(
            message=self.message,
            mode=self.mode,
            reasoning_effort=self.reasoning_effort,
            enable_checkpointing=self.enable_checkpointing,
            on_disconnect=self.on_disconnect,
            require_plan_approval=self.require_plan_approval,
        )


class AskBody(AskWords, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/v1/conversations/{id}/runs"""


class AnswerWords(Struct, frozen=True, kw_only=True):
    """A human's answer to a run's request. It may be any JSON, `null` too; the bound on the body bounds it."""

    request_id: Id
    response: Any


class AnswerBody(AnswerWords, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/v1/runs/{id}/responses"""


class ResumeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    checkpoint_id: Id | None = None


class ConversationBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    title: Title = "New Chat"


class RenameBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PATCH /api/v1/conversations/{id}"""

    title: Title


class FeedbackBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/v1/runs/{id}/feedback"""

    score: Annotated[float, Meta(ge=0, le=10)] | None = None
    thumb: Thumb | None = None
    comment: Annotated[str, Meta(max_length=2000)] | None = None

    def feedback(self) -> Feedback:
        """Raises Invalid unless there is either a score or a thumb."""
        if self.thumb is None and self.score is not None:
            return Feedback(score=self.score, comment=self.comment)
        if self.thumb is not None and self.score is None:
            return Feedback(score=THUMBS[self.thumb], thumb=self.thumb, comment=self.comment)
        raise _invalid("score", "give either a score or a thumb")


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class PageQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Limit = 25
    offset: Offset = 0


class RunsQuery(PageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: RunStatus | None = None
    conversation_id: Id | None = None


class StreamQuery(Struct, frozen=True, kw_only=True):
    fields: Literal["lean", "full"] = "full"

    @property
    def lean(self) -> bool:
        return self.fields == "lean"


class StartQuery(StreamQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For a POST whose answer is a stream."""


class EventsQuery(StartQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    after: str | None = None
    limit: PageLimit = 200  # of a page; a stream has no limit


class ChatQuery(StreamQuery, frozen=True, kw_only=True):
    after: str | None = None


class RunQuery(Struct, frozen=True, kw_only=True):
    """Which run the chat protocol's commands are for."""

    workflow_id: str


class Cursor(NamedTuple):
    run_id: str | None
    seq: int


async def body(request: Request, shape: type[T]) -> T:
    """The request's JSON; no body at all counts as `{}`.

    HTTPException 408, 413, 415 and 400 (not JSON); Invalid when it is JSON of another shape.
    """
    raw = await _read(request, parts_of(request).settings.max_body)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if raw and media_type != "application/json":
        raise HTTPException(415, "The body must be application/json.")
    try:
        jsontext.decode(raw or b"{}", object)
    except Invalid as error:
        raise HTTPException(400, str(error)) from None
    return jsontext.decode(raw or b"{}", shape)


def query(request: Request, shape: type[T]) -> T:
    """The request's query parameters. Raises Invalid, naming the parameter."""
    pairs = request.query_params.multi_items()
    values = {name: _TYPED.get(name, str)(value) for name, value in pairs}
    if shape.__struct_config__.forbid_unknown_fields and len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise _invalid(next(name for name in names if names.count(name) > 1), "given more than once")
    return jsontext.decode(jsontext.encode(values), shape)


def path_id(request: Request, name: str) -> str:
    """The id in the path. NotFound when nothing can have it."""
    return known_id(str(request.path_params[name]), name.removesuffix("_id"))


def known_id(text: str, noun: str) -> str:
    if not _ID.fullmatch(text):
        raise NotFound(f"There is no such {noun}.")
    return text


def cursor(request: Request, after: str | None) -> Cursor | None:
    """Where to resume. A browser that reconnects repeats its old URL, so the header wins. Raises BadCursor."""
    if header := request.headers.get("last-event-id"):
        found = _CURSOR.fullmatch(header)
        if not found or found["run"] is None:
            raise _bad_cursor("Last-Event-ID", "<run_id>:<seq>")
        return Cursor(found["run"], int(found["seq"]))
    return None if after is None else parse_cursor(after)


def parse_cursor(text: str) -> Cursor:
    found = _CURSOR.fullmatch(text)
    if not found:
        raise _bad_cursor("after", "<run_id>:<seq> or <seq>")
    return Cursor(found["run"], int(found["seq"]))


def position(found: Cursor | None, run_id: str) -> int:
    """The `seq` to resume behind; 0 is the start. NotFound for a cursor of another run."""
    if found and found.run_id not in (None, run_id):
        raise NotFound("This position is in another run.")
    return found.seq if found else 0


def idempotency_key(request: Request, conversation_id: str, given: AskBody) -> IdempotencyKey | None:
    """Raises Invalid for a key that is not 1..255 visible ASCII characters."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise _invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    content = conversation_id.encode() + b"\n" + jsontext.encode(given)
    return IdempotencyKey(key=key, fingerprint=hashlib.sha256(content).hexdigest())


def wants(request: Request, media_type: str) -> bool:
    """Whether Accept names it; wildcards do not."""
    return media_type in request.headers.get("accept", "").lower()


async def _read(request: Request, limit: int) -> bytes:
    raw = bytearray()
    with anyio.move_on_after(BODY_TIME):
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                raw += chunk
                if len(raw) > limit:
                    raise HTTPException(413, f"The body is larger than {limit} bytes.")
        return bytes(raw)
    raise HTTPException(408, f"The body took longer than {BODY_TIME:g} s.", {"Connection": "close"})


def _number(text: str) -> int | str:
    return int(text) if _NUMBER.fullmatch(text) else text


def _flag(text: str) -> bool | str:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


_TYPED: dict[str, Callable[[str], object]] = {
    "limit": _number,
    "offset": _number,
    "enable_checkpointing": _flag,
    "require_plan_approval": _flag,
}
"""Parameters that are not text. What does not parse stays text, and the shape says what was expected."""


def _invalid(field: str, problem: str) -> Invalid:
    return Invalid(f"{field}: {problem}", [(field, problem)])


def _bad_cursor(field: str, form: str) -> BadCursor:
    return BadCursor(f"{field}: must be {form}", [(field, f"must be {form}")])

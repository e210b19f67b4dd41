"""JSON in and out, the only encoder and the only decoder of the service.

Out: ASCII, so that no reader tears a line at U+2028, U+2029 or U+0085; lone surrogates (half an emoji from a model)
become U+FFFD instead of breaking a stream. In: strict (RFC 8259, no NaN, no BOM, no lone surrogates), with a bound
on depth, so that hostile text costs no more than its length.
"""

import re
from typing import Any, TypeVar

import msgspec

from agentic_fleet.errors import Invalid

MAX_DEPTH = 64  # levels of [] and {}; the parser itself would recurse to about 1,000
MAX_VALUES = 50_000  # some 20 ms of the event loop; a long text is one value

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_NON_ASCII = re.compile(r"[^\x00-\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_PATH = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<field>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")


def encode(value: object) -> bytes:
    """`value` as one line of ASCII JSON."""
    try:
        body = _encoder.encode(value)
    except UnicodeEncodeError:
        body = _encoder.encode(_scrubbed(msgspec.to_builtins(value)))
    if body.isascii():
        return body
    return _NON_ASCII.sub(_escape, body.decode()).encode()


def decode(body: bytes | str, type: type[T]) -> T:
    """`body` as a `type` (a msgspec Struct or a builtin).

    Raises Invalid, naming the field. The caller bounds the size.
    """
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    _check_size(raw)
    try:
        return msgspec.json.decode(raw, type=type)
    except msgspec.ValidationError as error:
        field, problem = _explain(str(error))
        raise Invalid(f"{field}: {problem}" if field else problem, [(field or "body", problem)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("The body is not valid JSON.", [("body", str(error))]) from None


def scrub(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate: what `encode` writes, for those who keep the text itself."""
    return _SURROGATE.sub("\ufffd", text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _scrubbed(value: Any) -> Any:
    match value:
        case str():
            return scrub(value)
        case dict():
            return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
        case list() | tuple():
            return [_scrubbed(item) for item in value]
        case _:
            return value


def _check_size(raw: bytes) -> None:
    """Counts without parsing; brackets and commas inside texts count as well, which no honest text has so many of."""
    opened = raw.count(b"[") + raw.count(b"{")
    if opened + raw.count(b",") > MAX_VALUES:
        raise Invalid("The body holds too much.", [("body", f"more than {MAX_VALUES} values")])
    if opened > MAX_DEPTH:
        _check_depth(raw)


def _check_depth(raw: bytes) -> None:
    depth = 0
    for match in _BRACKETS.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise Invalid("The body is nested too deeply.", [("body", f"more than {MAX_DEPTH} levels")])
        elif token in (b"]", b"}"):
            depth -= 1


def _explain(message: str) -> tuple[str, str]:
    """msgspec's sentence as (field, problem)."""
    found = _PATH.match(message)
    problem, field = (found["problem"], found["field"] or "") if found else (message, "")
    for pattern, text in ((_UNKNOWN, "unknown field"), (_MISSING, "required")):
        if inner := pattern.search(problem):
            return (f"{field}.{inner['field']}" if field else inner["field"]), text
    return field, problem[:1].lower() + problem[1:]

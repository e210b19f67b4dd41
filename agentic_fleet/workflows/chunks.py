"""From the bytes of an answer to its chunks: Server-Sent Events cut by hand, each checked as it is decoded.

The HTML standard's event stream has more to it; chat completions use one ``data:`` line an event, and comments.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict, cast
from uuid import uuid4

import msgspec

from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.completions import Chunk

MAX_LINE = 1024 * 1024  # bytes of one line; a chunk has some hundred
DONE = b"[DONE]"  # what comes after the last chunk
NO_ANSWER = "The model sent something that is not an answer."


class Lines:
    """Cuts bytes into the data of events, wherever the network has cut them before."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the lines that `piece` completes. Raises ModelFailed when a line is longer than MAX_LINE."""
        self._rest += piece
        if b"\n" in piece:
            *lines, self._rest = self._rest.split(b"\n")
        else:
            lines = []
        if len(self._rest) > MAX_LINE:
            raise ModelFailed(NO_ANSWER)
        return [bytes(line[5:].strip()) for line in lines if line.startswith(b"data:")]


def decode(data: bytes) -> Chunk:
    """One chunk, with the keys named below and no others; none of them need be there. Raises ModelFailed."""
    try:
        return cast(Chunk, _decoder.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelFailed(NO_ANSWER) from error


def joined(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """Chunks that have come at once, with every row of those that only go on with the text as one.

    Nothing comes later than it would, and one event costs what one token does: when tokens come faster than they can
    be passed on one by one, they are passed on in larger pieces. What came before a failure is given before it.
    """
    row: list[Chunk] = []
    try:
        for chunk in chunks:
            if _mere_text(chunk):
                row.append(chunk)
                continue
            if row:
                yield _one(row)
                row = []
            yield chunk
    except ModelFailed:
        if row:
            yield _one(row)
        raise
    if row:
        yield _one(row)


def _mere_text(chunk: Chunk) -> str:
    """The text of a chunk that has nothing else to say; "" of any other."""
    choices = chunk.get("choices") or []
    if len(choices) != 1 or chunk.get("usage") or chunk.get("error") or choices[0].get("finish_reason"):
        return ""
    delta = choices[0].get("delta") or {}
    others = any(value for key, value in delta.items() if key != "content")
    return "" if others else delta.get("content") or ""


def _one(row: list[Chunk]) -> Chunk:
    first = row[0]
    if len(row) == 1:
        return first
    return {**first, "choices": [{**first["choices"][0], "delta": {"content": "".join(map(_mere_text, row))}}]}


class Numbered:
    """Gives the chunks of one answer what some servers leave out: the answer's id, and an index to each call.

    The ids of calls and what the journal keeps follow from them, so everybody who reads the answer must see the same.
    """

    def __init__(self) -> None:
        self._id = f"chatcmpl-{uuid4().hex}"
        self._calls: list[str | None] = []  # the id of each call so far, if it has one
        self._filled: set[int] = set()  # calls that have had some arguments
        self._open: dict[int | None, int] = {}  # the server's index -> the call that it means now

    def complete(self, chunk: Chunk) -> Chunk:
        """The chunk, completed in place."""
        chunk["id"] = chunk.get("id") or self._id
        for choice in chunk.get("choices") or ():
            for fragment in (choice.get("delta") or {}).get("tool_calls") or ():
                fragment["index"] = self._index(fragment)
        return chunk

    def _index(self, fragment: Mapping[str, Any]) -> int:
        index, function = fragment.get("index"), fragment.get("function") or {}
        place = self._open.get(index)
        if place is None or self._begins(fragment, place):
            place = self._open[index] = len(self._calls)
            self._calls.append(fragment.get("id"))
        if function.get("arguments"):
            self._filled.add(place)
        return place

    def _begins(self, fragment: Mapping[str, Any], place: int) -> bool:
        """Whether it is another call than the one at `place`: its id says so, or without an id that it has a name."""
        if id := fragment.get("id"):
            return bool(id != self._calls[place])
        named = (fragment.get("function") or {}).get("name")
        return bool(named) and (fragment.get("index") is None or place in self._filled)


class _Function(TypedDict, total=False):
    name: str | None
    arguments: str | None


class _ToolCall(TypedDict, total=False):
    index: int | None
    id: str | None
    function: _Function | None


class _Delta(TypedDict, total=False):
    content: str | None
    refusal: str | None
    reasoning_content: str | None
    reasoning: str | None
    tool_calls: list[_ToolCall] | None


class _Choice(TypedDict, total=False):
    delta: _Delta | None
    finish_reason: str | None


class _Chunk(TypedDict, total=False):
    id: str | None
    choices: list[_Choice] | None
    usage: dict[str, Any] | None
    error: Any


_decoder = msgspec.json.Decoder(_Chunk)

"""From the bytes of an answer to its chunks: Server-Sent Events cut by hand, each checked as it is decoded.

The HTML standard's event stream has more to it; chat completions use one ``data:`` line an event, and comments.
"""

from typing import Any, TypedDict, cast

import msgspec

from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.completions import Chunk

MAX_LINE = 1024 * 1024  # bytes of one line; a chunk has some hundred
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

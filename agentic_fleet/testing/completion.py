"""Replies as the chat-completions protocol has them: whole, or as the frames of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentic_fleet import jsontext
from agentic_fleet.testing.reply import Body, Reply, asked, words

GARBAGE = b"data: {not json\n\n"


@dataclass(frozen=True, slots=True)
class Piece:
    fields: dict[str, Any]
    counts: bool  # is a token


def pieces(reply: Reply) -> list[Piece]:
    """What a stream says before its ending, in order."""
    found = [_piece({"role": "assistant", "content": ""})]
    found += [_piece({reply.reasoning_field: text}) for text in reply.reasoning]
    found += [_piece({"content": token}, counts=True) for token in reply.tokens]
    found += [_piece({"tool_calls": [call]}) for call in _tool_calls(reply)]
    if len(reply.tokens) in (reply.drop_after, reply.end_after, reply.hang_after):
        found.append(_piece({}, counts=True))  # so that the stream stops before its ending
    return found


def frame(id: str, body: Body, fields: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % jsontext.encode(_envelope(id, body, "chat.completion.chunk") | fields)


def ending(reply: Reply, id: str, body: Body) -> bytes:
    """The last frames."""
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": _finish(reply)}]}
    parts = [b": the end is near\n\n", frame(id, body, last)]
    if (body.get("stream_options") or {}).get("include_usage"):
        parts.append(frame(id, body, {"choices": [], "usage": _usage(reply, body)}))
    return b"".join([*parts, b"data: [DONE]\n\n"])


def whole(reply: Reply, id: str, body: Body) -> dict[str, Any]:
    """The answer to a request without `stream`."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(reply.tokens) or None}
    if reply.reasoning:
        message[reply.reasoning_field] = "".join(reply.reasoning)
    if reply.tool_calls:
        message["tool_calls"] = [
            {"id": _call_id(index), "type": "function", "function": {"name": name, "arguments": _text(arguments)}}
            for index, (name, arguments) in enumerate(reply.tool_calls)
        ]
    choice = {"index": 0, "message": message, "finish_reason": _finish(reply)}
    return _envelope(id, body, "chat.completion") | {"choices": [choice], "usage": _usage(reply, body)}


def _piece(delta: dict[str, Any], *, counts: bool = False) -> Piece:
    return Piece({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, counts)


def _tool_calls(reply: Reply) -> Iterator[dict[str, Any]]:
    """In three parts each, as large endpoints send them; whole, as small ones do, when something is left out."""
    for index, (name, given) in enumerate(reply.tool_calls):
        arguments = _text(given)
        if reply.leaves_out:
            call = {"index": index, "id": _call_id(index), "function": {"name": name, "arguments": arguments}}
            yield {key: value for key, value in call.items() if key not in reply.leaves_out}
            continue
        head = {"name": name, "arguments": ""}
        yield {"index": index, "id": _call_id(index), "type": "function", "function": head}
        middle = len(arguments) // 2
        for part in (arguments[:middle], arguments[middle:]):
            yield {"index": index, "function": {"arguments": part}}


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else jsontext.encode(arguments).decode()


def _envelope(id: str, body: Body, kind: str) -> dict[str, Any]:
    return {"id": id, "object": kind, "created": 1, "model": body.get("model", "azure")}


def _finish(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop")


def _usage(reply: Reply, body: Body) -> dict[str, int]:
    prompt, completion = reply.usage or (len(words(asked(body))), len(reply.tokens))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _call_id(index: int) -> str:
    return f"call_{index}"

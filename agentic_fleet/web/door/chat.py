"""`POST /v1/chat/completions`: the fleet as a chat model, streamed or not.

The phases of the team go out as `reasoning_content`, which many chat clients show and all others ignore.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from agentic_fleet import jsontext
from agentic_fleet.conversations import new_id
from agentic_fleet.turns import RunState, Usage
from agentic_fleet.web import wire
from agentic_fleet.web.door.chat_words import ChatBody
from agentic_fleet.web.door.exchange import Exchange
from agentic_fleet.web.door.models import mode_of
from agentic_fleet.web.door.refusals import Refusal
from agentic_fleet.web.door.told import Answer
from agentic_fleet.web.door.words import effort_of
from agentic_fleet.web.parts import parts_of

END = b"data: [DONE]\n\n"


async def complete_chat(request: Request) -> ASGIApp:
    body = await wire.body(request, ChatBody)
    mode, effort = mode_of(body.model), effort_of(body.reasoning_effort, "reasoning_effort")
    question, streamed = body.question(), bool(body.stream)
    conversation_id = new_id()

    async def starting() -> RunState:
        ask = question.ask(mode, effort, streamed=streamed)
        opening = question.opening(conversation_id)
        return await parts_of(request).runs.start(conversation_id, ask, create=True, opening=opening)

    def dialect(state: RunState) -> Chat:
        return Chat(state, body.model, wants_usage=body.wants_usage)

    return Exchange(request, starting, dialect, streamed=streamed)


class Chat:
    """A `Dialect`. Every chunk begins and ends alike: these bytes are made once."""

    def __init__(self, state: RunState, model: str, *, wants_usage: bool) -> None:
        self._head = {"id": f"chatcmpl-{state.run_id}", "created": state.created_at // 1000, "model": model}
        self._wants_usage = wants_usage
        head = jsontext.encode({**self._head, "object": "chat.completion.chunk"})[:-1]
        usage = b',"usage":null' if wants_usage else b""
        self._before = b'data: %s,"choices":[{"index":0,"delta":' % head
        self._after = b',"logprobs":null,"finish_reason":null}]%s}\n\n' % usage
        self._stop = b',"logprobs":null,"finish_reason":"stop"}]%s}\n\n' % usage
        self._bill = b'data: %s,"choices":[],"usage":%%s}\n\n' % head.replace(b"%", b"%%")
        self._spoken = False

    def begin(self) -> bytes:
        return self._chunk(b'{"role":"assistant","content":""}')

    def thought(self, line: str) -> bytes:
        return self._chunk(b'{"reasoning_content":%s}' % jsontext.encode(f"{line}\n"))

    def delta(self, text: Any) -> bytes:
        self._spoken = True
        return self._chunk(b'{"content":%s}' % text)

    def completed(self, answer: Answer) -> bytes:
        rest = b"" if self._spoken else self.delta(jsontext.encode(answer.text))
        bill = b""
        if self._wants_usage and answer.usage:
            bill = self._bill % jsontext.encode(usage(answer.usage))
        return b"%s%s{}%s%s%s" % (rest, self._before, self._stop, bill, END)

    def failed(self, refusal: Refusal) -> bytes:
        """No `[DONE]` after it: nothing is done."""
        return b"data: %s\n\n" % refusal.body

    def whole(self, answer: Answer) -> Mapping[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        counted = {"usage": usage(answer.usage)} if answer.usage else {}
        return {**self._head, "object": "chat.completion", "choices": [choice], **counted}

    def _chunk(self, delta: bytes) -> bytes:
        return b"%s%s%s" % (self._before, delta, self._after)


def usage(it: Usage) -> dict[str, Any]:
    counts = asdict(it)
    return {
        "prompt_tokens": it.prompt_tokens,
        "completion_tokens": it.completion_tokens,
        "total_tokens": it.prompt_tokens + it.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counts["cached_tokens"]},
        "completion_tokens_details": {"reasoning_tokens": counts["reasoning_tokens"]},
    }

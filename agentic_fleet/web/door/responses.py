"""`POST /v1/responses`: the same in OpenAI's newer dialect. A response is a run: `resp_` and its id.

Everything is kept, whatever `store` says, and the response says so: a run that nobody can look at is no run.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from agentic_fleet import jsontext
from agentic_fleet.turns import RunState, Usage
from agentic_fleet.web import wire
from agentic_fleet.web.door.exchange import Exchange
from agentic_fleet.web.door.models import mode_of
from agentic_fleet.web.door.previous import PREFIX, start
from agentic_fleet.web.door.refusals import Refusal
from agentic_fleet.web.door.responses_words import ResponsesBody
from agentic_fleet.web.door.told import Answer
from agentic_fleet.web.door.words import effort_of
from agentic_fleet.web.parts import parts_of

_AT = {"output_index": 0, "content_index": 0}


async def create_response(request: Request) -> ASGIApp:
    body = await wire.body(request, ResponsesBody)
    mode = mode_of(body.model)
    effort = effort_of(body.reasoning.effort if body.reasoning else None, "reasoning.effort")
    question, streamed = body.question(), bool(body.stream)

    async def starting() -> RunState:
        ask = question.ask(mode, effort, streamed=streamed)
        return await start(parts_of(request), ask, question, body.previous_response_id)

    return Exchange(request, starting, lambda state: Responses(state, body), streamed=streamed)


class Responses:
    """A `Dialect`. It has no place for the team's phases: they are in the run's own stream."""

    def __init__(self, state: RunState, body: ResponsesBody) -> None:
        self._item_id = f"msg_{state.run_id}"
        self._number = -1
        self._item_open = False
        before = jsontext.encode(
            {"type": "response.output_text.delta", "item_id": self._item_id, **_AT, "logprobs": []}
        )
        self._delta = b"event: response.output_text.delta\ndata: %s" % before[:-1]
        self._response = {
            "id": f"{PREFIX}{state.run_id}",
            "object": "response",
            "created_at": state.created_at // 1000,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": None,
            "metadata": body.metadata if isinstance(body.metadata, dict) else {},
            "model": body.model,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "store": True,
            "temperature": None,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "truncation": "disabled",
            "usage": None,
        }

    def begin(self) -> bytes:
        return self._event("response.created", response=self._response) + self._event(
            "response.in_progress", response=self._response
        )

    def thought(self, line: str) -> bytes:
        return b""

    def delta(self, text: Any) -> bytes:
        opened = b"" if self._item_open else self._open()
        self._number += 1
        return b'%s%s,"sequence_number":%d,"delta":%s}\n\n' % (opened, self._delta, self._number, text)

    def completed(self, answer: Answer) -> bytes:
        rest = b"" if self._item_open else self.delta(jsontext.encode(answer.text))
        text, part = answer.text, _part(answer.text)
        events = (
            self._event("response.output_text.done", item_id=self._item_id, **_AT, text=text, logprobs=[]),
            self._event("response.content_part.done", item_id=self._item_id, **_AT, part=part),
            self._event("response.output_item.done", output_index=0, item=self._item("completed", [part])),
            self._event("response.completed", response=self.whole(answer)),
        )
        return rest + b"".join(events)

    def failed(self, refusal: Refusal) -> bytes:
        """Of the codes that a response's error can have, none is nearer."""
        error = {"code": "server_error", "message": str(refusal)}
        return self._event("response.failed", response={**self._response, "status": "failed", "error": error})

    def whole(self, answer: Answer) -> Mapping[str, Any]:
        return {
            **self._response,
            "status": "completed",
            "output": [self._item("completed", [_part(answer.text)])],
            "usage": _usage(answer.usage) if answer.usage else None,
        }

    def _open(self) -> bytes:
        self._item_open = True
        added = self._event("response.output_item.added", output_index=0, item=self._item("in_progress", []))
        return added + self._event("response.content_part.added", item_id=self._item_id, **_AT, part=_part(""))

    def _item(self, status: str, content: list[Any]) -> dict[str, Any]:
        return {"id": self._item_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _event(self, type: str, **fields: Any) -> bytes:
        self._number += 1
        body = jsontext.encode({"type": type, "sequence_number": self._number, **fields})
        return b"event: %s\ndata: %s\n\n" % (type.encode(), body)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(it: Usage) -> dict[str, Any]:
    return {
        "input_tokens": it.prompt_tokens,
        "input_tokens_details": {"cached_tokens": it.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": it.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": it.reasoning_tokens},
        "total_tokens": it.prompt_tokens + it.completion_tokens,
    }

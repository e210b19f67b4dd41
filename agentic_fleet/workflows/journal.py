"""A model whose finished answers are kept: a run that asks it the same again gets the same answer, at no cost.

It stands between the one seam to a model and everybody who uses it, so decisions and agents are covered alike.
Outside a run (no desk) it changes nothing.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from opentelemetry import trace

from agentic_fleet import jsontext
from agentic_fleet.workflows import spending
from agentic_fleet.workflows.completions import Chunk, Completions
from agentic_fleet.workflows.desk import desk, go_live, usage


class Journaled:
    """A `Completions` over another one. An answer that broke off or says nothing is not kept: the run that fails of it
    could never go on."""

    def __init__(self, completions: Completions) -> None:
        self.name = completions.name
        self._completions = completions

    @property
    def constrained(self) -> bool:
        return self._completions.constrained

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See `Completions`. An answer from the journal comes in one chunk."""
        at = desk.get()
        step = await at.step("model", jsontext.encode([self.name, body])) if at else None
        spent, part = spending.begin(), usage()
        if step and step.value is not None:
            kept = msgspec.json.decode(step.value)
            trace.get_current_span().set_attribute("fleet.kept", True)  # it took no time and cost nothing
            if spent:
                spent.report(kept.get("usage"))
            if part and part.kept_counts:
                part.add(self.name, kept.get("usage"))
            yield kept
            return
        go_live()
        answer = _Answer()
        async with aclosing(self._completions.stream(body)) as chunks:
            async for chunk in chunks:
                answer.add(chunk)
                yield chunk
        if spent:
            spent.report(answer.usage)
        if part:
            part.add(self.name, answer.usage)
        if at and step and answer.worth_keeping:
            await at.keep(step, jsontext.encode(answer.whole()))


class _Answer:
    """Chunks, joined into one that says the same."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._texts: dict[str, list[str]] = {"content": [], "reasoning_content": []}
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish: str | None = None
        self.usage: Any = None

    def add(self, chunk: Chunk) -> None:
        self._id = self._id or chunk.get("id")
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            self._add_delta(choice.get("delta") or {})

    @property
    def worth_keeping(self) -> bool:
        """It is whole, and there is something in it."""
        return self._finish is not None and bool("".join(self._texts["content"]).strip() or self._calls)

    def _add_delta(self, delta: Mapping[str, Any]) -> None:
        if text := delta.get("content") or delta.get("refusal"):
            self._texts["content"].append(text)
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            self._texts["reasoning_content"].append(thought)
        for fragment in delta.get("tool_calls") or ():
            call = self._calls.setdefault(fragment.get("index") or 0, {"type": "function", "name": "", "arguments": ""})
            function = fragment.get("function") or {}
            call["id"] = fragment.get("id") or call.get("id")
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""

    def whole(self) -> Chunk:
        delta: dict[str, Any] = {field: "".join(parts) for field, parts in self._texts.items() if parts}
        if self._calls:
            delta["tool_calls"] = [
                {
                    "index": index,
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for index, call in sorted(self._calls.items())
            ]
        chunk: Chunk = {"id": self._id, "choices": [{"index": 0, "delta": delta, "finish_reason": self._finish}]}
        return chunk | ({"usage": self.usage} if self.usage else {})

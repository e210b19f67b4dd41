"""A model whose calls and tokens are counted, for measuring; it answers like the one it stands before."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.completions import Chunk, Completions


class Counting:
    """A `Completions`. `prompt_tokens` and `completion_tokens` are None as soon as one answer did not tell its own.

    `failure` is the newest one, for those who want to know what was swallowed on the way.
    """

    def __init__(self, completions: Completions) -> None:
        self.name = completions.name
        self.calls = 0
        self.prompt_tokens: int | None = 0
        self.completion_tokens: int | None = 0
        self.failure: ModelFailed | None = None
        self._completions = completions

    @property
    def constrained(self) -> bool:
        return self._completions.constrained

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See `Completions`."""
        self.calls += 1
        usage: Mapping[str, Any] = {}
        try:
            async with aclosing(self._completions.stream(body)) as chunks:
                async for chunk in chunks:
                    usage = chunk.get("usage") or usage
                    yield chunk
        except ModelFailed as failure:
            self.failure = failure
            raise
        finally:
            self.prompt_tokens = _sum(self.prompt_tokens, usage.get("prompt_tokens"))
            self.completion_tokens = _sum(self.completion_tokens, usage.get("completion_tokens"))


def _sum(so_far: int | None, more: int | None) -> int | None:
    return None if so_far is None or more is None else so_far + more

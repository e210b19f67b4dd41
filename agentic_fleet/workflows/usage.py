"""What the models' answers cost: counted where answers come in, told in the event that ends a part or a decision."""

from collections.abc import Mapping
from typing import Any


class Usage:
    """Of one agent's part, or of one phase's decisions. Counts are as the models report them; some report none."""

    def __init__(self, *, kept_counts: bool) -> None:
        """`kept_counts`: answers from the journal count too, because no event has told of them yet."""
        self.kept_counts = kept_counts
        self._calls = 0
        self._tokens: dict[str, int] = {}
        self._models: dict[str, None] = {}  # an ordered set

    def add(self, model: str, counts: Mapping[str, Any] | None) -> None:
        """One finished answer, with the `usage` of OpenAI's API."""
        self._calls += 1
        self._models[model] = None
        for name in ("prompt_tokens", "completion_tokens"):
            if isinstance(count := (counts or {}).get(name), int):
                self._tokens[name] = self._tokens.get(name, 0) + count

    @property
    def data(self) -> dict[str, Any]:
        """The same for an event's `data`; empty when no model was asked."""
        if not self._calls:
            return {}
        return {"usage": {"models": list(self._models), "calls": self._calls, **self._tokens}}

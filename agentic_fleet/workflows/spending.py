"""What a turn's model calls have cost in tokens, as the model reports it; unknown as soon as one call reports nothing.

Decisions and agents all ask through the journal, so it counts there; a context variable leads each call to its turn.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from agentic_fleet.turns import Usage


class Spending:
    """One turn's. A call that broke off has cost something that nobody reports, so it makes the sum unknown."""

    def __init__(self) -> None:
        self._open = 0  # calls whose usage has not been reported
        self._sum = Usage()

    def begin(self) -> None:
        self._open += 1

    def report(self, usage: Mapping[str, Any] | None) -> None:
        """How a call ended. Details that a model leaves out count as none."""
        counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
        if None in counts:
            return
        self._open -= 1
        self._sum = Usage(
            prompt_tokens=self._sum.prompt_tokens + (counts[0] or 0),
            completion_tokens=self._sum.completion_tokens + (counts[1] or 0),
            cached_tokens=self._sum.cached_tokens + _detail(usage, "prompt_tokens_details", "cached_tokens"),
            reasoning_tokens=self._sum.reasoning_tokens
            + _detail(usage, "completion_tokens_details", "reasoning_tokens"),
        )

    @property
    def sum(self) -> Usage | None:
        return None if self._open else self._sum


_spending: ContextVar[Spending | None] = ContextVar("spending", default=None)


@contextmanager
def counted() -> Iterator[Spending]:
    """The block's calls are counted, those of tasks that are started in it too."""
    token = _spending.set(spending := Spending())
    try:
        yield spending
    finally:
        _spending.reset(token)


def begin() -> Spending | None:
    """Where the call that begins now is to report, if anywhere."""
    if spending := _spending.get():
        spending.begin()
    return spending


def _detail(usage: Mapping[str, Any] | None, group: str, name: str) -> int:
    return _count((usage or {}).get(group), name) or 0


def _count(counts: Any, name: str) -> int | None:
    """Whatever a server sends there."""
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and value >= 0 else None

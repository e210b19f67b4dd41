"""Facts about the caller and the run, carried by context variables into every log line beneath them.

A task copies the context of whoever starts it, so a run started by a request keeps that request's id in its log
lines for its whole life; nothing else of the request reaches the run.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from agentic_fleet.conversations import LOCAL

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
run_id: ContextVar[str | None] = ContextVar("run_id", default=None)
conversation_id: ContextVar[str | None] = ContextVar("conversation_id", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""OpenTelemetry's, when there are traces."""
caller: ContextVar[str] = ContextVar("caller", default=LOCAL)
"""Who asks: a name of ours for the owner of a key, never the key. What is kept for one caller is never another's."""

_ALL: dict[str, ContextVar[Any]] = {
    "request_id": request_id,
    "run_id": run_id,
    "conversation_id": conversation_id,
    "trace_id": trace_id,
    "caller": caller,
}


@contextmanager
def bind(**facts: str) -> Iterator[None]:
    """Set the named variables for the block; unknown names are a KeyError."""
    tokens = [(_ALL[name], _ALL[name].set(value)) for name, value in facts.items()]
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


class ContextFilter(logging.Filter):
    """Gives every log record the bound facts, as attributes of the same names."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, variable in _ALL.items():
            setattr(record, name, variable.get())
        return True

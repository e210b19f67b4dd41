"""What the handlers work with: the opened rooms, and the places for open streams. Carried as the lifespan's state."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict, cast

from starlette.requests import HTTPConnection

from agentic_fleet.about import AgentCard, Check
from agentic_fleet.errors import Busy
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    settings: Settings
    store: Store
    runs: Runs
    agents: Sequence[AgentCard]
    check_model: Callable[[], Check]
    check_tools: Callable[[], Mapping[str, Check]]  # by name; a tool that fails is no failure of the service


class Streams:
    """Counts open SSE streams and sockets together: each holds a connection for as long as its client likes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place. Raises Busy when all are taken."""
        if self._open >= self._limit:
            raise Busy(f"All {self._limit} streams are taken.")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class State(TypedDict):
    parts: Parts
    streams: Streams


def parts_of(connection: HTTPConnection) -> Parts:
    return cast(State, connection.scope["state"])["parts"]


def streams_of(connection: HTTPConnection) -> Streams:
    return cast(State, connection.scope["state"])["streams"]

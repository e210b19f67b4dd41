"""What the handlers work with: the opened rooms, and the places for open streams. Carried as the lifespan's state."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypedDict, cast

import anyio
from starlette.requests import HTTPConnection

from agentic_fleet import context
from agentic_fleet.about import AgentCard, Check
from agentic_fleet.errors import Busy, TooFast
from agentic_fleet.keys import Keys
from agentic_fleet.learning import Learning
from agentic_fleet.learning.tuning import Tuning
from agentic_fleet.metrics import Metrics
from agentic_fleet.rates import Rate
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store
from agentic_fleet.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    settings: Settings
    store: Store
    runs: Runs
    learning: Learning
    tuning: Tuning
    agents: Sequence[AgentCard]
    check_model: Callable[[], Check]
    check_tools: Callable[[], Mapping[str, Check]]  # by name; a tool that fails is no failure of the service
    metrics: Metrics = field(default_factory=Metrics)
    tracing: Tracing = field(default_factory=Tracing)


class Streams:
    """Counts open SSE streams and sockets together: each holds a connection for as long as its client likes."""

    def __init__(self, limit: int, caller_limit: int) -> None:
        self._limit = limit
        self._caller_limit = caller_limit
        self._open: Counter[str] = Counter()  # by caller
        self.leaving = anyio.Event()  # the server is shutting down

    @property
    def open(self) -> int:
        return self._open.total()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place of this caller's. Raises Busy when all are taken, TooFast when all of the caller's are."""
        caller = context.caller.get()
        if self.open >= self._limit:
            raise Busy(f"All {self._limit} streams are taken.")
        if self._open[caller] >= self._caller_limit:
            raise TooFast(f"All {self._caller_limit} streams of this caller are taken.")
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1


class State(TypedDict):
    parts: Parts
    streams: Streams
    keys: Keys
    frames: Rate


def state_of(parts: Parts) -> State:
    settings = parts.settings
    streams = Streams(settings.max_streams, settings.caller_streams)
    parts.metrics.observe(live=lambda: parts.runs.live, streams=lambda: streams.open)
    return {
        "parts": parts,
        "streams": streams,
        "keys": Keys(settings.api_keys),
        "frames": Rate(settings.frame_rate, "frames"),
    }


def parts_of(connection: HTTPConnection) -> Parts:
    return _state(connection)["parts"]


def streams_of(connection: HTTPConnection) -> Streams:
    return _state(connection)["streams"]


def keys_of(connection: HTTPConnection) -> Keys:
    return _state(connection)["keys"]


def is_operator(connection: HTTPConnection, caller: str) -> bool:
    """Whether the caller may change what holds for all of them."""
    operators = parts_of(connection).settings.operators
    return not operators or caller in operators


def frames_of(connection: HTTPConnection) -> Rate:
    """How many frames a caller may send on all its sockets."""
    return _state(connection)["frames"]


def _state(connection: HTTPConnection) -> State:
    return cast(State, connection.scope["state"])

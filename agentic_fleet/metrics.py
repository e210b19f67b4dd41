"""What operators count: runs, watchers, tokens, times, the store and the event loop, as Prometheus metrics.

A registry of its own, not the library's global one, so that two services in one process do not add up. No label ever
holds what a client sent, or a caller's name: labels are closed sets.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal

import anyio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from agentic_fleet import __version__
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import RunStatus, Unfinished

LAG_PAUSE = 0.5
"""Seconds between two looks at how late the event loop is."""
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
_FIRST = frozenset({StreamEventType.RESPONSE_DELTA, StreamEventType.AGENT_DELTA, StreamEventType.REASONING_DELTA})


@asynccontextmanager
async def open_metrics() -> AsyncIterator["Metrics"]:
    """With a task that watches the event loop for the block."""
    metrics = Metrics()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(metrics.watch_loop)
        try:
            yield metrics
        finally:
            tasks.cancel_scope.cancel("the service is closing")


class _Life:
    """One life of a run, until its end."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.began = time.monotonic()
        self.spoken = False


_life: ContextVar[_Life | None] = ContextVar("life", default=None)


class Metrics:
    """A `ChatMiddleware` that counts. Shared by all runs; what belongs to one is in a context variable."""

    tokens: Literal["first"] = "first"

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("fleet_info", "The version that answers", ["version"], registry=registry).labels(__version__).set(1)
        self._live = Gauge("fleet_runs_live", "Runs that are working now", registry=registry)
        self._streams = Gauge("fleet_streams_open", "Open event streams and sockets", registry=registry)
        self._runs = Counter("fleet_runs", "Lives of runs that ended", ["mode", "status"], registry=registry)
        self._duration = Histogram(
            "fleet_run_duration_seconds",
            "From the beginning of a run's life to its end",
            ["mode", "status"],
            buckets=_LONG,
            registry=registry,
        )
        self._first = Histogram(
            "fleet_time_to_first_token_seconds",
            "From the beginning of a run's life to the first token of any agent",
            ["mode"],
            buckets=_LONG,
            registry=registry,
        )
        self._errors = Counter("fleet_run_errors", "Runs that failed", ["kind"], registry=registry)
        self._tokens = Counter(
            "fleet_tokens", "Tokens as the model reports them", ["model", "direction"], registry=registry
        )
        self._writes = Histogram(
            "fleet_store_write_seconds",
            "From asking the store to keep something to its being kept",
            buckets=_SHORT,
            registry=registry,
        )
        self._lag = Histogram(
            "fleet_loop_lag_seconds", "How late the event loop wakes a task", buckets=_SHORT, registry=registry
        )
        tasks = Gauge(
            "fleet_tasks",
            "Tasks of the event loop: they follow runs and streams, and do not pile up",
            registry=registry,
        )
        tasks.set_function(lambda: len(anyio.get_running_tasks()))
        self._requests = Counter(
            "fleet_http_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it, in the form that `Accept` prefers, and that form's media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def observe(self, *, live: Callable[[], int], streams: Callable[[], int]) -> None:
        """Where to look up what is counted elsewhere."""
        self._live.set_function(live)
        self._streams.set_function(streams)

    def answered(self, method: str, route: str | None, status: int) -> None:
        """`route` is the path of one of our routes; anything that is no word of ours is "other"."""
        self._requests.labels(method if method in _METHODS else "other", route or "other", str(status)).inc()

    def written(self, seconds: float) -> None:
        self._writes.observe(seconds)

    async def watch_loop(self) -> None:
        """Until cancelled."""
        while True:
            due = time.monotonic() + LAG_PAUSE
            await anyio.sleep(LAG_PAUSE)
            self._lag.observe(max(0.0, time.monotonic() - due))

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        _life.set(_Life(str(context.get("mode", "auto"))))

    async def on_event(self, event: StreamEvent) -> None:
        life = _life.get()
        if life and not life.spoken and event.type in _FIRST:
            life.spoken = True
            self._first.labels(life.mode).observe(time.monotonic() - life.began)
        if event.data and isinstance(usage := event.data.get("usage"), Mapping):
            self._spend(usage)

    async def on_end(self, result: Any) -> None:
        self._end(RunStatus.COMPLETED)

    async def on_error(self, error: Exception) -> None:
        status = error.status if isinstance(error, Unfinished) else RunStatus.FAILED
        if status is RunStatus.FAILED:
            self._errors.labels(type(error.__cause__).__name__ if error.__cause__ else "Unexpected").inc()
        self._end(status)

    def _spend(self, usage: Mapping[str, Any]) -> None:
        """Of a part or a decision, which names its models; the sum at the run's end names none, and is not added."""
        if models := usage.get("models"):
            model = models[0] if len(models) == 1 else "several"
            for direction, name in (("in", "prompt_tokens"), ("out", "completion_tokens")):
                self._tokens.labels(model, direction).inc(max(0, usage.get(name) or 0))

    def _end(self, status: RunStatus) -> None:
        if life := _life.get():
            self._runs.labels(life.mode, status).inc()
            self._duration.labels(life.mode, status).observe(time.monotonic() - life.began)
            _life.set(None)

"""The one place that adapts Agent Framework to structured concurrency, and the only one that may use asyncio.

Iterating a workflow under an anyio cancel scope leaks the model's HTTP stream: anyio cancels again on every turn of
the loop, and the framework's own cleanup is cut off by the second cancellation. So a plain asyncio task, which no
scope reaches, pulls the events; it is cancelled exactly once and awaited under a shield.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from agent_framework import ResponseStream, Workflow, WorkflowEvent
from agent_framework.observability import OBSERVABILITY_SETTINGS
from opentelemetry import trace

from agentic_fleet.errors import BadSetting

logger = logging.getLogger(__name__)

GRACE = 5.0  # seconds a cancelled workflow gets to close its connections; they close within 0.25 s when all is well
FIRST, BEYOND = (1, 23), (1, 24)  # the releases whose behaviour this room relies on


def prepare() -> None:
    """Once, at start: refuse a framework we do not know, and hear only its warnings (it logs a line per superstep).

    Without anybody who collects spans it makes none: by default it would, at a tenth of the time that a token takes.
    """
    check_versions(version("agent-framework-core"))
    logging.getLogger("agent_framework").setLevel(logging.WARNING)
    nobody_collects = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    OBSERVABILITY_SETTINGS.enable_instrumentation = not nobody_collects


def check_versions(installed: str) -> None:
    """Raises BadSetting when the version is outside FIRST..BEYOND (PEP 440: major.minor.rest)."""
    if not FIRST <= tuple(int(part) for part in installed.split(".")[:2]) < BEYOND:
        wanted = f">={FIRST[0]}.{FIRST[1]},<{BEYOND[0]}.{BEYOND[1]}"
        raise BadSetting(f"agent-framework-core {installed} is installed, but this service needs {wanted}.")


@asynccontextmanager
async def owned_events(
    workflow: Workflow,
    message: Any,
    *,
    unheard: Collection[str] = (),
) -> AsyncGenerator[AsyncIterator[WorkflowEvent[Any]]]:
    """Run `workflow` for the block, which sees its events; leaving the block, however, ends the run.

    It starts with `message`. Events of the types `unheard` are left out: to hand one over takes two turns of the loop,
    and most say only how the graph is run.

    The framework moves on only when the consumer asks for the next event. So a slow consumer slows the workflow, and
    every event of a superstep has been handled before the next superstep starts: what executors emit by themselves
    never overtakes the phases. An exception of the workflow comes out of the iteration as it was raised. When the run
    takes longer than GRACE to end, it is left to itself, with a warning.
    """
    events = _Events()

    def start() -> ResponseStream[WorkflowEvent[Any], Any]:
        return workflow.run(message, stream=True)

    task = asyncio.create_task(_pump(start, events, unheard), name="workflow")
    try:
        yield events
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=GRACE)
        _report(task)


class _Events(AsyncIterator[WorkflowEvent[Any]]):
    """A rendezvous: `offer` returns when the consumer has come back for more."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[WorkflowEvent[Any] | Exception | None] = asyncio.Queue()
        self._in_hand = False

    async def offer(self, event: WorkflowEvent[Any]) -> None:
        self._queue.put_nowait(event)
        await self._queue.join()

    def end(self, error: Exception | None) -> None:
        self._queue.put_nowait(error)

    async def __anext__(self) -> WorkflowEvent[Any]:
        if self._in_hand:
            self._queue.task_done()
            self._in_hand = False
        event = await self._queue.get()
        self._in_hand = True
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, Exception):
            raise event
        return event


async def _pump(
    start: Callable[[], ResponseStream[WorkflowEvent[Any], Any]], events: _Events, unheard: Collection[str]
) -> None:
    error: Exception | None = RuntimeError("The workflow was cancelled from within.")
    try:
        async with start() as stream:
            async for event in stream:
                if event.type not in unheard:
                    await events.offer(event)
        error = None
    except Exception as raised:  # handed over: the consumer raises it
        error = raised
    finally:
        events.end(error)


def _report(task: asyncio.Task[None]) -> None:
    if not task.done():
        logger.warning("a cancelled workflow had not ended after %g s", GRACE)
    elif not task.cancelled() and (error := task.exception()):
        logger.warning("a workflow failed while it was being stopped: %s", type(error).__name__)

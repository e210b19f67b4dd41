"""Endings that come late or from outside: of runs that a dead process left behind, of suspended ones that are
cancelled, and of those whose store had failed.
"""

import logging
from collections.abc import Sequence

import anyio

from agentic_fleet.errors import StoreFailed, StoreUnavailable
from agentic_fleet.events import StreamEvent
from agentic_fleet.runs.endings import DONE, number, outcome, stopped
from agentic_fleet.runs.middleware import Chain, facts
from agentic_fleet.runs.revival import history_of
from agentic_fleet.runs.run import Run
from agentic_fleet.store import Store
from agentic_fleet.turns import LIVE, ChatMiddleware, RunState

REPAIR_PAUSE = 2.0
"""Seconds between attempts to store the ending of a run whose store had failed."""

logger = logging.getLogger(__name__)


async def end(store: Store, middleware: Sequence[ChatMiddleware], state: RunState, ending: StreamEvent) -> RunState:
    """Give that ending to a run that has no task here; its state then. The middleware is told as of a life that was
    nothing but its end. StoreFailed, NotFound."""
    records, after = number((ending, DONE), state)
    await store.append(state.run_id, records, state=after)
    if middleware:
        followers = Chain(middleware)
        await followers.on_start(state.task, facts(state, await history_of(store, state)))
        await followers.on_ending((ending, DONE), outcome(ending, after))
    return after


async def end_all(store: Store, middleware: Sequence[ChatMiddleware]) -> None:
    """Give every run that an earlier process left live its ending, so that its watchers are told. StoreFailed."""
    while left := await store.runs(statuses=LIVE, limit=100):
        for state in left:
            await end(store, middleware, state, stopped(state))
        logger.warning("ended %d runs that an earlier process left behind", len(left))


async def keep_late(runs: dict[str, Run]) -> None:
    """Store the endings that a failing store had refused, as soon as it takes them; then the run leaves `runs`."""
    while True:
        await anyio.sleep(REPAIR_PAUSE)
        for run in [run for run in runs.values() if run.ended.is_set()]:
            try:
                await run.record_late()
            except StoreUnavailable:
                break
            except StoreFailed:
                continue
            del runs[run.state.run_id]

"""What one run remembers between its turns (`turns.Memory`): in the store, or for the run's life only.

A run that begins has nothing to remember and one that goes on wants nearly all of it, so the steps are read once and
then served from a dictionary; the store is asked again only to keep more.
"""

import logging

import anyio

from agentic_fleet.store import Store
from agentic_fleet.turns import Checkpoint

MAX_STEP = 1024 * 1024
"""Bytes of one step's outcome. A model's answer has some kilobytes; a tool may return anything, and all steps of a run
are held in memory at once. What is larger is not kept: a run that comes to that step again does it again."""

logger = logging.getLogger(__name__)


class DurableMemory:
    """The memory of the run `run_id` in `store`. One at a time: it does not see what another one keeps.

    Methods raise StoreFailed; keeping something for a run that is gone (its conversation was dropped) raises NotFound.
    """

    def __init__(self, store: Store, run_id: str, *, new: bool = False) -> None:
        """`new`: the run has only just been made, so that there is nothing to read."""
        self._store = store
        self._run_id = run_id
        self._steps: dict[str, bytes] | None = {} if new else None
        self._loading = anyio.Lock()

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        await self._store.keep_checkpoint(self._run_id, checkpoint)

    async def checkpoints(self) -> list[Checkpoint]:
        return await self._store.checkpoints(self._run_id)

    async def step(self, key: str) -> bytes | None:
        return (await self._loaded()).get(key)

    async def keep_step(self, key: str, value: bytes) -> None:
        if _is_small(value):
            steps = await self._loaded()  # first: what is read while this is being written might lack it
            await self._store.keep_step(self._run_id, key, value)
            steps[key] = value

    async def _loaded(self) -> dict[str, bytes]:
        if self._steps is not None:
            return self._steps
        async with self._loading:
            if self._steps is None:
                self._steps = await self._store.steps(self._run_id)
            return self._steps


class TransientMemory:
    """The memory of a run that does not want checkpoints: it pauses for a human, but does not outlive the process."""

    def __init__(self) -> None:
        self._checkpoints: dict[str, Checkpoint] = {}
        self._steps: dict[str, bytes] = {}

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        self._checkpoints.pop(checkpoint.checkpoint_id, None)  # the newest comes last, also when its id is not new
        self._checkpoints[checkpoint.checkpoint_id] = checkpoint

    async def checkpoints(self) -> list[Checkpoint]:
        return list(self._checkpoints.values())

    async def step(self, key: str) -> bytes | None:
        return self._steps.get(key)

    async def keep_step(self, key: str, value: bytes) -> None:
        if _is_small(value):
            self._steps[key] = value


def _is_small(value: bytes) -> bool:
    if len(value) > MAX_STEP:
        logger.warning(
            "a step of %d bytes is not kept (the limit is %d): it may have to be repeated", len(value), MAX_STEP
        )
        return False
    return True

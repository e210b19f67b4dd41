"""What a run's memory promises a workflow, in the store and without one."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import anyio
import pytest

from agentic_fleet.conversations import Message
from agentic_fleet.errors import NotFound, StoreFailed
from agentic_fleet.runs.memory import MAX_STEP, DurableMemory, TransientMemory
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.turns import Checkpoint, Memory, RunState, RunStatus
from tests.runs.conftest import OpenStore


async def start(store: Store, run_id: str = "run") -> None:
    chat = f"chat-{run_id}"
    state = RunState(
        run_id=run_id, conversation_id=chat, task="Why?", mode="auto", status=RunStatus.RUNNING, created_at=1
    )
    question = Message(id=f"q-{run_id}", conversation_id=chat, role="user", content="Why?", created_at=1)
    await store.add_run(state, question, create=True)


def checkpoint(id: str, body: bytes = b"{}") -> Checkpoint:
    return Checkpoint(checkpoint_id=id, phase="execution", at=5, body=body)


@pytest.fixture(params=["durable", "transient"])
async def memory(request: pytest.FixtureRequest, open_store: OpenStore) -> AsyncIterator[Memory]:
    async with open_store() as store:
        await start(store)
        yield DurableMemory(store, "run") if request.param == "durable" else TransientMemory()


async def test_a_new_runs_memory_asks_the_store_for_nothing_and_keeps_all_the_same() -> None:
    class Asked(MemoryStore):
        async def steps(self, run_id: str) -> dict[str, bytes]:
            raise AssertionError("there is nothing to read")

    store = Asked()
    await start(store)
    memory = DurableMemory(store, "run", new=True)
    assert await memory.step("a") is None
    await memory.keep_step("a", b"one")
    assert await memory.step("a") == b"one"
    assert await MemoryStore.steps(store, "run") == {"a": b"one"}


async def test_a_step_comes_back_under_its_key(memory: Memory) -> None:
    assert await memory.step("a") is None
    await memory.keep_step("a", b"\x00one")
    await memory.keep_step("b", b"")
    assert (await memory.step("a"), await memory.step("b"), await memory.step("c")) == (b"\x00one", b"", None)


async def test_a_step_kept_again_is_replaced(memory: Memory) -> None:
    await memory.keep_step("a", b"one")
    await memory.keep_step("a", b"two")
    assert await memory.step("a") == b"two"


async def test_checkpoints_come_oldest_first(memory: Memory) -> None:
    assert await memory.checkpoints() == []
    for id in ("b", "a"):
        await memory.keep_checkpoint(checkpoint(id))
    assert await memory.checkpoints() == [checkpoint("b"), checkpoint("a")]


async def test_a_checkpoint_kept_again_is_the_newest(memory: Memory) -> None:
    for id, body in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        await memory.keep_checkpoint(checkpoint(id, body))
    assert await memory.checkpoints() == [checkpoint("b", b"2"), checkpoint("a", b"3")]


async def test_a_step_that_is_too_large_is_left_out_with_a_warning(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await memory.keep_step("fits", bytes(MAX_STEP))
        assert caplog.records == []
        await memory.keep_step("large", bytes(MAX_STEP + 1))
    assert await memory.step("fits") == bytes(MAX_STEP)
    assert await memory.step("large") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_what_is_kept_is_there_after_a_restart(open_store: OpenStore) -> None:
    async with open_store() as store:
        await start(store)
        memory = DurableMemory(store, "run")
        await memory.keep_step("a", b"one")
        await memory.keep_checkpoint(checkpoint("c"))
    async with open_store() as store:
        memory = DurableMemory(store, "run")
        assert await memory.step("a") == b"one"
        assert await memory.checkpoints() == [checkpoint("c")]


async def test_runs_do_not_see_each_others_memory(open_store: OpenStore) -> None:
    async with open_store() as store:
        await start(store, "one")
        await start(store, "two")
        one, two = DurableMemory(store, "one"), DurableMemory(store, "two")
        await one.keep_step("a", b"one")
        await one.keep_checkpoint(checkpoint("c"))
        assert (await two.step("a"), await two.checkpoints()) == (None, [])


async def test_a_run_that_is_gone_keeps_nothing(open_store: OpenStore) -> None:
    async with open_store() as store:
        memory = DurableMemory(store, "run")
        assert (await memory.step("a"), await memory.checkpoints()) == (None, [])
        with pytest.raises(NotFound):
            await memory.keep_step("a", b"one")
        with pytest.raises(NotFound):
            await memory.keep_checkpoint(checkpoint("c"))
        assert await memory.step("a") is None


class Gated(MemoryStore):
    """Counts the readings of steps; each returns what it saw at first once the gate is open, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = 0
        self.broken = False
        self.gate = anyio.Event()

    async def steps(self, run_id: str) -> dict[str, bytes]:
        self.readings += 1
        seen = await super().steps(run_id)
        await self.gate.wait()
        if self.broken:
            raise StoreFailed("The disk is full.")
        return seen

    async def keep_step(self, run_id: str, key: str, value: bytes) -> None:
        if self.broken:
            raise StoreFailed("The disk is full.")
        await super().keep_step(run_id, key, value)


@pytest.fixture
async def gated() -> Gated:
    store = Gated()
    await start(store)
    await store.keep_step("run", "a", b"one")
    return store


async def _all(*calls: Callable[[], Coroutine[Any, Any, object]], then: anyio.Event) -> None:
    """The calls side by side; when all of them wait, `then` is set."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)
                await anyio.wait_all_tasks_blocked()
            then.set()


async def test_the_steps_are_read_once_however_many_ask(gated: Gated) -> None:
    memory = DurableMemory(gated, "run")
    seen: list[bytes | None] = []

    async def ask() -> None:
        seen.append(await memory.step("a"))

    await _all(ask, ask, ask, then=gated.gate)
    await ask()
    assert seen == 4 * [b"one"]
    assert gated.readings == 1


async def test_a_step_kept_while_the_others_are_being_read_is_not_lost(gated: Gated) -> None:
    memory = DurableMemory(gated, "run")
    await _all(lambda: memory.step("a"), lambda: memory.keep_step("b", b"two"), then=gated.gate)
    assert await memory.step("b") == b"two"
    assert await gated.steps("run") == {"a": b"one", "b": b"two"}


async def test_a_reader_that_is_cancelled_leaves_the_reading_to_the_next(gated: Gated) -> None:
    memory = DurableMemory(gated, "run")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(memory.step, "a")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        gated.gate.set()
        assert await memory.step("a") == b"one"


async def test_a_store_that_failed_is_asked_again(gated: Gated) -> None:
    memory = DurableMemory(gated, "run")
    gated.gate.set()
    gated.broken = True
    with pytest.raises(StoreFailed):
        await memory.step("a")
    gated.broken = False
    assert await memory.step("a") == b"one"
    gated.broken = True
    with pytest.raises(StoreFailed):
        await memory.keep_step("b", b"two")
    assert await memory.step("b") is None

"""Runs over a store that refuses, stands still, or comes back."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from agentic_fleet.conversations import Message
from agentic_fleet.errors import StoreFailed
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import LIVE, Checkpoint, Emit, Result, RunState, RunStatus, Turn
from tests.faults.table import row
from tests.runs.conftest import OpenStore, ask
from tests.runs.reading import some, text, types, whole
from tests.script import Paced, Script, answer, token


class Failing(MemoryStore):
    """A store that refuses events while `broken`."""

    broken = False

    async def append(self, run_id: str, records: Any, *, state: RunState, answer: Message | None = None) -> None:
        self.check()
        await super().append(run_id, records, state=state, answer=answer)

    async def append_tokens(self, parts: Any) -> None:
        self.check()
        await super().append_tokens(parts)

    def check(self) -> None:
        if self.broken:
            raise StoreFailed("The disk is full.")


@row(36)
async def test_when_the_store_fails_the_run_ends_with_that_reason_and_its_neighbours_go_on() -> None:
    store, paced, refused = Failing(), Paced(), Paced()
    acts = {"one": paced, "two": refused}

    async def act(turn: Turn, emit: Emit) -> Result:
        return await acts[turn.ask.message](turn, emit)

    async with Runs.open(store, Script(act), Settings()) as runs:
        with anyio.fail_after(20):
            neighbour = await ask(runs, "one", "c1")
            state = await ask(runs, "two", "c2")
            for run_id in (neighbour.run_id, state.run_id):
                await some(await runs.watch(run_id), 1)
            store.broken = True
            refused.step("lost")
            await refused.left.wait()  # the workflow is stopped at once: nothing of it could be kept
            store.broken = False
            events = await whole(runs, state.run_id)
            assert events[-2]["error"] == "The disk is full."
            assert types(events)[-1] == "done"
            paced.finish()
            assert types(await whole(runs, neighbour.run_id))[-2:] == ["response.completed", "done"]


@row(36)
async def test_an_ending_that_the_store_refused_is_shown_as_an_error_and_kept_when_the_store_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.run.LAST_EVENT", 0.3)
    monkeypatch.setattr("agentic_fleet.runs.leftovers.REPAIR_PAUSE", 0.01)
    store, paced = Failing(), Paced()
    async with Runs.open(store, Script(paced), Settings()) as runs:
        with anyio.fail_after(10):
            state = await ask(runs)
            paced.step("a")
            await some(await runs.watch(state.run_id), 2)
            store.broken = True
            paced.finish()
            events = await whole(runs, state.run_id)
            assert types(events)[-2:] == ["error", "done"]  # an answer that is not kept is not claimed
            store.broken = False
            while (await store.run(state.run_id)).status is not RunStatus.FAILED:
                await anyio.lowlevel.checkpoint()
            assert [json.loads(r.body)["type"] for r in await store.events(state.run_id, after=0, limit=99)] == types(
                events
            )


async def test_an_ending_that_is_never_taken_does_not_keep_others_from_being_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.run.LAST_EVENT", 0.1)
    monkeypatch.setattr("agentic_fleet.runs.leftovers.REPAIR_PAUSE", 0.01)
    refused: set[str] = set()

    class Picky(MemoryStore):
        async def append(self, run_id: str, records: Any, *, state: RunState, answer: Message | None = None) -> None:
            if run_id in refused:
                raise StoreFailed("The database failed.")
            await super().append(run_id, records, state=state, answer=answer)

    store, paced = Picky(), [Paced(), Paced()]

    async def act(turn: Turn, emit: Emit) -> Result:
        return await paced[int(turn.ask.message)](turn, emit)

    async with Runs.open(store, Script(act), Settings()) as runs:
        with anyio.fail_after(10):
            first, second = [(await ask(runs, str(number), f"c{number}")).run_id for number in range(2)]
            for run_id in (first, second):
                await some(await runs.watch(run_id), 1)
            refused.update((first, second))
            for each in paced:
                each.finish()
            for run_id in (first, second):
                await whole(runs, run_id)
            refused.remove(second)
            while (await store.run(second)).status is not RunStatus.FAILED:
                await anyio.lowlevel.checkpoint()
            refused.clear()


async def test_an_ending_that_came_too_late_for_its_readers_is_not_kept_beside_the_one_they_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.run.LAST_EVENT", 0.1)
    monkeypatch.setattr("agentic_fleet.runs.leftovers.REPAIR_PAUSE", 0.01)
    paced = Paced()
    async with open_sqlite(tmp_path / "fleet.db") as store, Runs.open(store, Script(paced), Settings()) as runs:
        with anyio.fail_after(10):
            state = await ask(runs)
            paced.step("a")
            await some(await runs.watch(state.run_id), 2)
            with closing(sqlite3.connect(tmp_path / "fleet.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")  # a backup, or somebody who looks around
                paced.finish()
                events = await whole(runs, state.run_id)
                assert types(events)[-2:] == ["error", "done"]
            while (await store.run(state.run_id)).status in LIVE:
                await anyio.lowlevel.checkpoint()
            assert [json.loads(r.body) for r in await store.events(state.run_id, after=0, limit=99)] == events
            assert [message.role for message in await store.messages("c1", limit=9)] == ["user"]
            assert (await store.run(state.run_id)).status is (await runs.state(state.run_id)).status


@row(37)
async def test_a_store_that_stands_still_makes_the_workflow_wait_and_then_nothing_is_missing() -> None:
    gate, emitted = anyio.Event(), 0

    class Stuck(MemoryStore):
        async def append(self, run_id: str, records: Any, *, state: RunState, answer: Message | None = None) -> None:
            await gate.wait()
            await super().append(run_id, records, state=state, answer=answer)

        async def append_tokens(self, parts: Any) -> None:
            await gate.wait()
            await super().append_tokens(parts)

    async def torrent(turn: Turn, emit: Emit) -> Result:
        nonlocal emitted
        for _ in range(10_000):
            await emit(token("x"))
            emitted += 1
        return answer("x" * 10_000)

    async with Runs.open(Stuck(), Script(torrent), Settings()) as runs:
        state = await ask(runs)
        with anyio.fail_after(20):
            await anyio.wait_all_tasks_blocked()
            assert emitted < 600
            gate.set()
            assert text(await whole(runs, state.run_id)) == "x" * 10_000


class Flaky:
    """A store of which every `nth` write is refused, whichever it is."""

    WRITES = frozenset({"add_run", "append", "append_tokens", "keep_checkpoint", "keep_step"})

    def __init__(self, store: Store, nth: int) -> None:
        self._store = store
        self._nth = nth
        self._writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def refusing(*given: Any, **named: Any) -> Any:
            self._writes += 1
            if self._writes % self._nth == 0:
                raise StoreFailed("The disk is full.")
            return await method(*given, **named)

        return refusing if name in self.WRITES else method


@row(36)
@pytest.mark.parametrize("nth", [2, 3, 7, 40])
async def test_whichever_writes_fail_every_run_has_one_ending_and_its_log_is_what_was_seen(
    open_store: OpenStore, nth: int
) -> None:
    async def work(turn: Turn, emit: Emit) -> Result:
        for phase in "abc":
            await turn.memory.keep_checkpoint(Checkpoint(checkpoint_id=phase, phase=phase, at=0, body=b""))
            await emit(StreamEvent(type=StreamEventType.ORCHESTRATOR_THOUGHT, kind=phase))
            await emit(token(phase))
            await turn.memory.keep_step(phase, b"")
        return answer("abc")

    endings = set[str]()
    async with open_store() as store, Runs.open(cast(Store, Flaky(store, nth)), Script(work), Settings()) as runs:

        async def one(number: int) -> None:
            try:
                run_id = (await ask(runs, "go", f"c{number}")).run_id
            except StoreFailed:
                return
            events = await whole(runs, run_id)
            ending, done = types(events)[-2:]
            assert done == "done"
            assert not {"done", "error", "response.completed"} & set(types(events)[:-2])
            while (state := await store.run(run_id)).status in LIVE:  # its ending was refused, too
                await anyio.lowlevel.checkpoint()
            kept = await store.events(run_id, after=0, limit=99)
            assert [record.seq for record in kept] == list(range(1, len(events) + 1))
            assert [json.loads(record.body) for record in kept] == events
            assert (state.status is RunStatus.COMPLETED) == (ending == "response.completed")
            answers = [each.content for each in await store.messages(f"c{number}", limit=9) if each.role == "assistant"]
            assert answers == (["abc"] if ending == "response.completed" else [])
            endings.add(ending)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(one, number)
    assert "error" in endings
    assert "response.completed" in endings or nth < 7

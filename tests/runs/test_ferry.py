"""The way of words to the store: together with those of other runs, in order, and nobody pays for his neighbours."""

import random
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import FleetError, NotFound, StoreFailed, StoreUnavailable
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.runs import Runs
from agentic_fleet.runs.inbox import Inbox
from agentic_fleet.settings import Settings
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.turns import Ask, Emit, Result, RunState, RunStatus, Turn
from tests.faults.table import row
from tests.runs.reading import some, text, types, whole
from tests.script import Paced, Script, answer, token


async def ask(runs: Runs, message: str, conversation: str) -> RunState:
    return await runs.start(conversation, Ask(message=message), create=True)


class Seen(MemoryStore):
    """Notes which runs' words came together."""

    def __init__(self) -> None:
        super().__init__()
        self.crossings: list[list[str]] = []

    async def append_tokens(self, parts: Any) -> None:
        self.crossings.append([run_id for run_id, _ in parts])
        await super().append_tokens(parts)


class Stage:
    """Runs whose workflows the test plays, each over its own `Paced`."""

    def __init__(self) -> None:
        self.acts: dict[str, Paced] = {}

    async def act(self, turn: Turn, emit: Emit) -> Result:
        return await self.acts[turn.ask.message](turn, emit)

    async def begin(self, runs: Runs, *names: str) -> list[str]:
        """The runs' ids, once each has said its `connected`."""
        ids = []
        for name in names:
            self.acts[name] = Paced()
            ids.append((await ask(runs, name, name)).run_id)
            await some(await runs.watch(ids[-1]), 1)
        return ids

    def say(self, word: str, *names: str) -> None:
        for name in names:
            self.acts[name].step(word)


async def test_the_first_words_cross_at_once_and_those_soon_after_wait_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.ferry.GATHERING", 3600)
    store, stage = Seen(), Stage()
    async with Runs.open(store, Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            ids = await stage.begin(runs, "a", "b", "c")
            stage.acts["a"].step("first")
            await some(await runs.watch(ids[0], 1), 1)
            stage.say("second", *"abc")
            await anyio.wait_all_tasks_blocked()
            assert store.crossings == [[ids[0]]]
            for name in "abc":
                stage.acts[name].finish()  # the recorder takes along what waits
            said = [text(await whole(runs, run_id)) for run_id in ids]
    assert said == ["firstsecond", "second", "second"]


async def test_words_of_all_runs_cross_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_fleet.runs.ferry.GATHERING", 0.01)
    store, stage = Seen(), Stage()
    async with Runs.open(store, Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            ids = await stage.begin(runs, "a", "b", "c")
            stage.say("word", *"abc")
            for run_id in ids:
                await some(await runs.watch(run_id, 1), 1)
    assert store.crossings == [ids]


class Partly(Seen):
    """Refuses the words of one run."""

    refused = ""
    failure: FleetError = StoreFailed("The database failed.")

    asked = 0

    async def append_tokens(self, parts: Any) -> None:
        self.asked += 1
        if self.refused in [run_id for run_id, _ in parts]:
            raise self.failure
        await super().append_tokens(parts)


@row(36)
async def test_words_that_cannot_be_kept_end_their_run_and_no_other() -> None:
    store, stage = Partly(), Stage()
    async with Runs.open(store, Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            good, bad = await stage.begin(runs, "good", "bad")
            store.refused = bad
            stage.say("word", "good", "bad")
            await stage.acts["bad"].left.wait()  # the workflow is stopped at once: nothing of it could be kept
            ended = await whole(runs, bad)
            assert types(ended) == ["connected", "error", "done"]
            assert ended[1]["error"] == "The database failed."
            stage.acts["good"].finish()
            assert text(await whole(runs, good)) == "word"


async def test_words_of_a_run_that_is_gone_are_no_failure() -> None:
    store, stage = Partly(), Stage()
    store.failure = NotFound("There is no such run.")
    async with Runs.open(store, Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            good, gone = await stage.begin(runs, "good", "gone")
            store.refused = gone
            stage.say("word", "good", "gone")
            assert [text(await some(await runs.watch(run_id, 1), 1)) for run_id in (good, gone)] == ["word", "word"]


@row(36)
async def test_a_store_that_keeps_nothing_now_is_not_asked_again_for_each_run() -> None:
    store, stage = Partly(), Stage()
    store.failure = StoreUnavailable("The disk is full.")
    async with Runs.open(store, Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            ids = await stage.begin(runs, "a", "b", "c")
            store.refused = ids[0]
            stage.say("word", *"abc")
            ended = [await whole(runs, run_id) for run_id in ids]
    assert [events[-2]["error"] for events in ended] == ["The disk is full."] * 3
    assert store.asked == 1


async def test_words_that_were_kept_are_shown_though_those_of_others_take_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.ferry.STORE_PATIENCE", 0.05)

    class Hanging(Partly):
        async def append_tokens(self, parts: Any) -> None:
            if self.refused == parts[0][0]:
                await anyio.sleep_forever()
            await super().append_tokens(parts)

    store, stage = Hanging(), Stage()
    async with Runs.open(store, Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            good, stuck = await stage.begin(runs, "good", "stuck")
            store.refused = stuck
            stage.say("word", "good", "stuck")
            assert (await whole(runs, stuck))[-2]["error"] == "The store did not answer."
            stage.acts["good"].finish()
            assert text(await whole(runs, good)) == "word"
            assert (await runs.state(good)).status is RunStatus.COMPLETED


@row(37)
async def test_a_store_that_never_answers_ends_the_runs_whose_words_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_fleet.runs.ferry.STORE_PATIENCE", 0.05)

    class Deaf(MemoryStore):
        async def append_tokens(self, parts: Any) -> None:
            await anyio.sleep_forever()

    stage = Stage()
    async with Runs.open(Deaf(), Script(stage.act), Settings()) as runs:
        with anyio.fail_after(5):
            ids = await stage.begin(runs, "a", "b")
            stage.say("word", *"ab")
            for run_id in ids:
                ended = await whole(runs, run_id)
                assert types(ended) == ["connected", "error", "done"]
                assert ended[1]["error"] == "The store did not answer."


class Slow(MemoryStore):
    """Answers at random, so that whatever can overtake does."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    async def append(self, run_id: str, records: Any, *, state: RunState, answer: Any = None) -> None:
        await self._dawdle()
        await super().append(run_id, records, state=state, answer=answer)

    async def append_tokens(self, parts: Any) -> None:
        await self._dawdle()
        await super().append_tokens(parts)

    async def _dawdle(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(20))
async def test_words_and_other_events_of_several_agents_keep_their_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.ferry.GATHERING", 0)
    chance = random.Random(seed)
    emitted: list[str] = []

    async def agent(emit: Emit, name: str) -> None:
        for number in range(60):
            said = f"{name}{number}"
            word = token(said) if chance.random() < 0.8 else StreamEvent(type=StreamEventType.TOOL_CALL, message=said)
            emitted.append(said)
            await emit(word)
            for _ in range(chance.randrange(3)):
                await anyio.lowlevel.checkpoint()

    async def act(turn: Turn, emit: Emit) -> Result:
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(agent, emit, name)
        return answer("done")

    store = Slow(chance)
    async with Runs.open(store, Script(act), Settings()) as runs:
        with anyio.fail_after(10):
            events = await whole(runs, (await ask(runs, "go", "c1")).run_id)
    said = [event.get("delta") or event.get("message") for event in events[1:-2]]
    assert said == emitted


async def test_after_a_failure_nothing_boards_that_would_stand_behind_a_gap() -> None:
    inbox = Inbox(10, lambda: None)
    await inbox.put(token("lost"), word=True)
    assert len(inbox.board()) == 1
    await inbox.put(token("after"), word=True)
    inbox.land(StoreFailed("The database failed."))
    assert inbox.board() == []
    with pytest.raises(StoreFailed):
        await inbox.take()

"""Runs: started, watched, resumed, cancelled, drained, repaired."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.conversations import Message
from agentic_fleet.errors import BadCursor, Conflict, Draining, FleetError, NotFound, StoreFailed, TooManyRuns
from agentic_fleet.events import Record, StreamEvent, StreamEventType
from agentic_fleet.runs import Runs
from agentic_fleet.runs.endings import number
from agentic_fleet.settings import Settings
from agentic_fleet.store import IdempotencyKey
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import LIVE, Ask, Emit, Result, RunState, RunStatus, Turn
from tests.faults.table import row
from tests.runs.conftest import OpenStore, running
from tests.runs.reading import Event, rest, some, text, types, whole
from tests.script import Paced, Script, answer, echo, token


async def ask(runs: Runs, message: str = "one two three", conversation: str = "c1", **more: str) -> RunState:
    return await runs.start(conversation, Ask(message=message, **more), create=True)  # type: ignore[arg-type]  # literals


async def test_a_run_tells_its_story_once_and_keeps_question_and_answer(open_store: OpenStore) -> None:
    async with running(open_store, Script(echo)) as (runs, store):
        state = await ask(runs)
        with anyio.fail_after(5):
            events = await whole(runs, state.run_id)
        assert types(events) == ["connected", *["response.delta"] * 3, "response.completed", "done"]
        assert events[0]["data"] == {
            "conversation_id": "c1",
            "workflow_id": state.run_id,
            "checkpointing_enabled": True,
        }
        assert events[-2]["message"] == text(events) == "one two three "
        final = await runs.state(state.run_id)
        assert (final.status, final.last_seq, final.quality_score) == (RunStatus.COMPLETED, 6, 8.0)
        messages = (await store.conversation("c1", owner="local")).messages
        assert [(m.role, m.content, m.workflow_id) for m in messages] == [
            ("user", "one two three", state.run_id),
            ("assistant", "one two three ", state.run_id),
        ]


async def test_half_an_emoji_from_a_model_is_kept_as_it_was_streamed(open_store: OpenStore) -> None:
    async def halves(turn: Turn, emit: Emit) -> Result:
        await emit(token("a\ud83d"))
        await emit(token("\ude00b"))
        return answer("a\ud83d\ude00b")

    async with running(open_store, Script(halves)) as (runs, store):
        with anyio.fail_after(5):
            events = await whole(runs, (await ask(runs)).run_id)
        kept = await store.conversation("c1", owner="local")
        assert text(events) == events[-2]["message"] == kept.messages[-1].content


async def test_a_resumed_reader_gets_exactly_the_rest_from_every_position(open_store: OpenStore) -> None:
    async with running(open_store, Script(echo)) as (runs, _):
        state = await ask(runs, "a b c d e f g")
        with anyio.fail_after(10):
            events = await whole(runs, state.run_id)
            for after in range(len(events) + 1):
                assert await rest(await runs.watch(state.run_id, after)) == events[after:]
            assert (await runs.watch(state.run_id, len(events))).over


@row(9)
async def test_random_cuts_while_the_run_is_live_lose_and_repeat_nothing(open_store: OpenStore) -> None:
    paced = Paced()
    texts = [f"{i} " for i in range(400)]
    async with running(open_store, Script(paced)) as (runs, _):
        state = await ask(runs)

        async def cut_often(seed: int) -> None:
            choice, after = random.Random(seed), 0
            seen: list[Event] = []
            while not seen or seen[-1]["type"] != "done":
                watch = await runs.watch(state.run_id, after)
                with watch:
                    for _ in range(choice.randrange(1, 4)):
                        seen += await some(watch, 1) if not watch.over else []
                        after = watch.after
                        if watch.over:
                            break
            assert text(seen) == "".join(texts)
            assert types(seen).count("connected") == types(seen).count("done") == 1

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for seed in range(5):
                    tasks.start_soon(cut_often, seed)
                for one in texts:
                    paced.step(one)
                    await anyio.lowlevel.checkpoint()
                paced.finish()


@row(13)
async def test_readers_far_behind_the_window_read_from_the_store(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.log.WINDOW", 2_000)
    monkeypatch.setattr("agentic_fleet.runs.log.BATCH", 7)
    paced = Paced()
    async with running(open_store, Script(paced)) as (runs, _):
        state = await ask(runs)
        watch = await runs.watch(state.run_id)
        paced.step(*(f"{i} " for i in range(300)))
        with anyio.fail_after(10):
            ahead = await runs.watch(state.run_id)
            await some(ahead, 301)
            paced.finish()
            events = await rest(watch)
        assert text(events) == "".join(f"{i} " for i in range(300))


@row(5, 6)
async def test_a_reader_is_given_so_many_bytes_at_once_whichever_way(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds them for as long as its peer takes none."""
    monkeypatch.setattr("agentic_fleet.runs.log.WINDOW", 10_000)

    async def talk(turn: Turn, emit: Emit) -> Result:
        for _ in range(50):
            await emit(token("x" * 3_000))
        return answer("That is all.")

    async with running(open_store, Script(talk)) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(10):
            await runs.idle()
            watch = await runs.watch(state.run_id)
            sizes, records = [], list[Record]()
            while part := await watch.next():
                sizes.append(sum(len(record.body) for record in part))
                records += part
        assert [record.seq for record in records] == list(range(1, 54))
        assert max(sizes) < 10_000 + 3_500


@pytest.mark.parametrize("after", [-1, 99, 10**30])
async def test_a_position_that_is_not_in_the_log_is_refused(open_store: OpenStore, after: int) -> None:
    async with running(open_store, Script(echo)) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await whole(runs, state.run_id)
        with pytest.raises(BadCursor):
            await runs.watch(state.run_id, after)


async def test_cancelling_ends_the_workflow_and_says_so_last(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced)) as (runs, store):
        state = await ask(runs)
        paced.step("half ")
        with anyio.fail_after(5):
            await some(await runs.watch(state.run_id), 2)
            final = await runs.cancel(state.run_id)
            assert paced.left.is_set()
            assert final.status is RunStatus.CANCELLED
            events = await whole(runs, state.run_id)
            assert types(events) == ["connected", "response.delta", "cancelled", "done"]
            assert (await runs.cancel(state.run_id)).status is RunStatus.CANCELLED
        assert [m.role for m in (await store.conversation("c1", owner="local")).messages] == ["user"]


@row(18)
async def test_a_run_cancelled_by_fifty_at_once_ends_once(open_store: OpenStore) -> None:
    async with running(open_store, Script(Paced())) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(runs.cancel, state.run_id)
            events = await whole(runs, state.run_id)
        assert types(events).count("cancelled") == types(events).count("done") == 1


@row(19)
async def test_cancel_racing_with_completion_always_gives_one_ending_that_status_and_log_agree_on(
    open_store: OpenStore,
) -> None:
    async def short(turn: Turn, emit: Emit) -> Result:
        await emit(token("x"))
        for _ in range(4):
            await anyio.lowlevel.checkpoint()
        return answer("x")

    endings = {"response.completed": RunStatus.COMPLETED, "cancelled": RunStatus.CANCELLED}
    seen = set()
    async with running(open_store, Script(short)) as (runs, store):
        with anyio.fail_after(60):
            for i in range(100):
                state = await ask(runs, conversation=f"c{i}")
                for _ in range(i % 10):
                    await anyio.lowlevel.checkpoint()
                final = await runs.cancel(state.run_id)
                last = types(await whole(runs, state.run_id))
                assert last[-1] == "done"
                assert [ending for ending in last if ending in endings] == [last[-2]]
                assert (await store.run(state.run_id)).status is final.status is endings[last[-2]]
                seen.add(last[-2])
    assert seen == set(endings)  # the race was run from both sides


async def test_a_run_that_takes_too_long_ends_with_an_error_that_says_so(open_store: OpenStore) -> None:
    async with running(open_store, Script(Paced()), run_timeout=0.1) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            events = await whole(runs, state.run_id)
        assert events[-2]["error"] == "The run took longer than 0.1 s."
        assert (await runs.state(state.run_id)).status is RunStatus.FAILED


@row(23)
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (FleetError("The model is out."), "The model is out."),
        (KeyError("secret"), "The run failed unexpectedly."),
        (ExceptionGroup("many", [ExceptionGroup("inner", [FleetError("Inside.")])]), "Inside."),
    ],
)
async def test_a_failing_workflow_ends_its_run_with_a_safe_error(
    open_store: OpenStore, error: Exception, shown: str
) -> None:
    async def fails(turn: Turn, emit: Emit) -> Result:
        await emit(StreamEvent(type=StreamEventType.REASONING_DELTA, reasoning="hm"))
        raise error

    async with running(open_store, Script(fails)) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            events = await whole(runs, state.run_id)
        assert types(events) == ["connected", "reasoning.delta", "error", "done"]
        assert (events[-2]["error"], events[-2]["reasoning_partial"]) == (shown, True)
        assert (await runs.state(state.run_id)).error == shown


async def test_twenty_watchers_leaving_change_nothing(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced)) as (runs, _):
        state = await ask(runs)
        paced.step("a")

        async def glance() -> None:
            with await runs.watch(state.run_id) as watch:
                await some(watch, 2)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(glance)
            paced.step("b")
            paced.finish()
            assert types(await whole(runs, state.run_id))[-2:] == ["response.completed", "done"]
            await runs.idle()
            await ask(runs, "next")


async def test_a_run_may_ask_to_end_with_its_last_watcher(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced), disconnect_grace=0.05) as (runs, _):
        state = await ask(runs, on_disconnect="cancel")
        paced.step("a")
        with anyio.fail_after(5):
            with await runs.watch(state.run_id) as watch:
                await some(watch, 2)
            await paced.left.wait()
            await runs.idle()
            assert types(await whole(runs, state.run_id))[-2:] == ["cancelled", "done"]


async def test_a_watcher_that_comes_back_in_time_keeps_such_a_run_alive(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced), disconnect_grace=30) as (runs, _):
        state = await ask(runs, on_disconnect="cancel")
        with anyio.fail_after(5):
            with await runs.watch(state.run_id):
                pass
            paced.finish()
            assert types(await whole(runs, state.run_id))[-2:] == ["response.completed", "done"]


async def test_the_one_run_too_many_is_refused_and_the_next_is_taken_when_there_is_room(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced), max_runs=1) as (runs, _):
        first = await ask(runs)
        with pytest.raises(TooManyRuns):
            await ask(runs, conversation="c2")
        with anyio.fail_after(5):
            await runs.cancel(first.run_id)
            await runs.idle()
        await ask(runs, conversation="c2")


async def test_a_conversation_has_one_live_run(open_store: OpenStore) -> None:
    async with running(open_store, Script(Paced())) as (runs, _):
        first = await ask(runs)
        with pytest.raises(Conflict):
            await ask(runs)
        with anyio.fail_after(5):
            await runs.cancel(first.run_id)
        await ask(runs)


@row(40)
async def test_the_same_key_gives_the_same_run(open_store: OpenStore) -> None:
    script = Script(echo)
    async with running(open_store, script) as (runs, _):
        key = IdempotencyKey(key="k", fingerprint="f")
        first, second = [await runs.start("c", Ask(message="hi"), key=key, create=True) for _ in range(2)]
        assert first.run_id == second.run_id
        with anyio.fail_after(5):
            await runs.idle()
        assert len(script.turns) == 1


async def test_the_workflow_sees_the_conversation_so_far(open_store: OpenStore) -> None:
    script = Script(echo)
    async with running(open_store, script) as (runs, _):
        with anyio.fail_after(5):
            for message in ("first", "second"):
                await whole(runs, (await ask(runs, message)).run_id)
        assert [(m.role, m.content) for m in script.turns[1].history] == [("user", "first"), ("assistant", "first ")]


async def test_a_caller_that_vanishes_while_starting_does_not_strand_the_run(open_store: OpenStore) -> None:
    script = Script(echo)
    async with running(open_store, script) as (runs, store):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, runs)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await runs.idle()
        states = await store.runs(limit=10)
        assert [state.status for state in states] == [RunStatus.COMPLETED] * len(states)


async def test_dropping_a_conversation_cancels_its_run_first(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced)) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await runs.drop_conversation("c1")
            assert paced.left.is_set()
            await runs.idle()
            with pytest.raises(NotFound):
                await runs.state(state.run_id)
        with pytest.raises(NotFound):
            await runs.drop_conversation("c1")


async def test_draining_refuses_new_runs_and_lets_live_ones_finish(open_store: OpenStore) -> None:
    paced = Paced()
    async with running(open_store, Script(paced)) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runs.drain, 30)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(Draining):
                    await ask(runs, conversation="c2")
                paced.finish()
            assert (await runs.state(state.run_id)).status is RunStatus.COMPLETED


async def test_a_stopped_service_ends_its_runs_as_interrupted_and_their_watchers_are_told(
    open_store: OpenStore,
) -> None:
    paced = Paced()
    async with running(open_store, Script(paced)) as (runs, _):
        state = await ask(runs)
        watch = await runs.watch(state.run_id)
    assert paced.left.is_set()
    async with running(open_store, Script(echo)) as (runs, _):
        with anyio.fail_after(5):
            events = await whole(runs, state.run_id)
        assert types(events) == ["connected", "error", "done"]
        assert (await runs.state(state.run_id)).status is RunStatus.INTERRUPTED
    assert watch.over is False  # it had read nothing yet; its cursor still resumes exactly


@row(32)
async def test_runs_that_a_dead_process_left_are_interrupted_at_the_next_start(open_store: OpenStore) -> None:
    async with open_store() as store:  # a process that dies: it never says goodbye to its run
        left = RunState(
            run_id="left", conversation_id="c1", task="t", mode="auto", status=RunStatus.CREATED, created_at=1
        )
        await store.add_run(left, question("m1"), create=True)
        records, state = number([StreamEvent(type=StreamEventType.CONNECTED), token("half ")], left)
        await store.append("left", records, state=state)
    async with running(open_store, Script(echo)) as (runs, _):
        with anyio.fail_after(5):
            events = await whole(runs, "left")
            assert types(events) == ["connected", "response.delta", "error", "done"]
            assert (await runs.state("left")).status is RunStatus.INTERRUPTED
            await ask(runs)  # the conversation is free again


def question(id: str) -> Message:
    return Message(id=id, conversation_id="c1", role="user", content="t", created_at=1)


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

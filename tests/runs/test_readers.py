"""Those who read a run: from every position, at their own speed, and what their coming and going changes."""

import random

import anyio
import pytest

from agentic_fleet.errors import BadCursor
from agentic_fleet.events import Record
from agentic_fleet.turns import Emit, Result, Turn
from tests.faults.table import row
from tests.runs.conftest import OpenStore, ask, running
from tests.runs.reading import Event, rest, some, text, types, whole
from tests.script import Paced, Script, answer, echo, token


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

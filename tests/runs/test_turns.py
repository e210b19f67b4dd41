"""Runs that ask a human, wait, are suspended, are answered, and go on; also after a restart."""

from typing import Any

import anyio
import pytest

from agentic_fleet.errors import Conflict, FleetError, NotFound, StoreFailed
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.turns import Ask, Checkpoint, Emit, Pause, Result, RunState, RunStatus, Turn
from tests.faults.table import row
from tests.runs.conftest import OpenStore, running
from tests.runs.reading import Event, rest, text, types, whole
from tests.script import Script, answer, asking, echo, question, token

WAIT = {"input_timeout": 600.0}
HURRY = {"input_timeout": 0.05}


async def ask(runs: Runs, **more: Any) -> RunState:
    return await runs.start("c1", Ask(message="paint", **more), create=True)


async def until(runs: Runs, run_id: str, status: RunStatus) -> RunState:
    """The run's state once it has that status."""
    watch = await runs.watch(run_id)
    while (state := await runs.state(run_id)).status is not status:
        if not await watch.next():
            watch = await runs.watch(run_id, watch.after)
            await anyio.lowlevel.checkpoint()
    return state


def kinds(events: list[Event]) -> list[str]:
    return [event.get("kind") or event["type"] for event in events]


async def test_a_run_that_asks_waits_and_goes_on_with_the_answer_in_the_same_log(open_store: OpenStore) -> None:
    script = Script(asking(question("q1")))
    async with running(open_store, script, **WAIT) as (runs, store):
        state = await ask(runs)
        with anyio.fail_after(5):
            waiting = await until(runs, state.run_id, RunStatus.WAITING)
            assert [request.request_id for request in waiting.pending_requests] == ["q1"]
            assert (await store.run(state.run_id)).pending_requests == waiting.pending_requests
            after = await runs.answer(state.run_id, "q1", {"colour": "blue", "shades": [1, None]})
            assert (after.pending_requests, after.answers["q1"]["colour"]) == ((), "blue")
            events = await whole(runs, state.run_id)
        assert kinds(events) == [
            *("connected", "response.delta", "request", "response", "response.delta", "response.completed", "done")
        ]
        assert events[2]["message"] == "User input required"
        assert events[2]["data"]["request"] == {"question": "Which colour?"}
        assert events[3]["data"] == {"request_id": "q1", "response": {"colour": "blue", "shades": [1, None]}}
        assert [turn.retell for turn in script.turns] == [False, False]
        assert (await store.run(state.run_id)).status is RunStatus.COMPLETED


@pytest.mark.parametrize("response", ["blue", "", None, 7, [1, [2]], {"a": {"b": None}}, "für 😀", True])
async def test_any_json_is_an_answer(open_store: OpenStore, response: Any) -> None:
    async with running(open_store, Script(asking(question("q1"))), **WAIT) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await until(runs, state.run_id, RunStatus.WAITING)
            assert (await runs.answer(state.run_id, "q1", response)).answers == {"q1": response}
            assert (await whole(runs, state.run_id))[-2]["message"] == f"Thinking. {response}"


@row(24)
async def test_a_request_is_answered_exactly_once(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"), question("q2"))), **WAIT) as (runs, _):
        state = await ask(runs)
        outcomes: list[str] = []

        async def give(response: str) -> None:
            try:
                await runs.answer(state.run_id, "q1", response)
                outcomes.append("taken")
            except Conflict:
                outcomes.append("conflict")

        with anyio.fail_after(5):
            await until(runs, state.run_id, RunStatus.WAITING)
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(give, str(number))
            assert sorted(outcomes) == ["conflict"] * 9 + ["taken"]
            assert (await runs.state(state.run_id)).status is RunStatus.WAITING  # q2 is open
            await runs.answer(state.run_id, "q2", "green")
            await whole(runs, state.run_id)
            with pytest.raises(Conflict):
                await runs.answer(state.run_id, "q2", "late")
            with pytest.raises(NotFound):
                await runs.answer(state.run_id, "q3", "never asked")
            with pytest.raises(NotFound):
                await runs.answer("nobody", "q1", "x")


async def test_without_an_answer_in_time_the_run_is_suspended_and_a_late_answer_goes_on(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), **HURRY) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            events = await whole(runs, state.run_id)
            assert types(events)[-2:] == ["suspended", "done"]
            assert (await runs.state(state.run_id)).status is RunStatus.SUSPENDED
            await runs.answer(state.run_id, "q1", "blue")
            more = await rest(await runs.watch(state.run_id, len(events)))
        assert kinds(more) == [
            *("connected", "response", "response.delta", "response.delta", "response.completed", "done")
        ]
        assert more[0]["data"]["resumed"] is True
        assert text(more) == more[-2]["message"] == "Thinking. blue"
        assert (await runs.state(state.run_id)).status is RunStatus.COMPLETED


async def test_waiting_does_not_count_towards_the_time_of_the_run(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), run_timeout=1.0, **WAIT) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await until(runs, state.run_id, RunStatus.WAITING)
            await anyio.sleep(1.2)  # longer than the run may take: nothing else can show it
            await runs.answer(state.run_id, "q1", "blue")
            assert types(await whole(runs, state.run_id))[-2] == "response.completed"


async def test_a_run_without_checkpoints_cannot_wait_for_ever(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), **HURRY) as (runs, _):
        state = await ask(runs, enable_checkpointing=False)
        with anyio.fail_after(5):
            events = await whole(runs, state.run_id)
        assert events[0]["data"]["checkpointing_enabled"] is False
        assert events[-2]["error"] == "No answer came in 0.05 s, and the run keeps no checkpoints."
        with pytest.raises(Conflict):
            await runs.resume(state.run_id)


async def test_an_answer_after_a_restart_goes_on_in_the_same_log(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), **WAIT) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await until(runs, state.run_id, RunStatus.WAITING)
    async with running(open_store, Script(asking(question("q1"))), **WAIT) as (runs, _):
        with anyio.fail_after(5):
            suspended = await runs.state(state.run_id)
            assert suspended.status is RunStatus.SUSPENDED
            await runs.answer(state.run_id, "q1", "blue")
            events = await whole(runs, state.run_id)
        assert types(events).count("done") == 2
        assert events[-2]["message"] == "Thinking. blue"


async def test_draining_suspends_a_waiting_run_at_once(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), **WAIT) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await until(runs, state.run_id, RunStatus.WAITING)
            await runs.drain(60)
            assert (await runs.state(state.run_id)).status is RunStatus.SUSPENDED


@row(21)
async def test_a_waiting_run_can_be_cancelled_and_takes_no_answer_then(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), **WAIT) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await until(runs, state.run_id, RunStatus.WAITING)
            assert (await runs.cancel(state.run_id)).status is RunStatus.CANCELLED
            with pytest.raises(Conflict):
                await runs.answer(state.run_id, "q1", "late")


async def test_a_suspended_run_can_be_cancelled_and_takes_no_answer_then(open_store: OpenStore) -> None:
    async with running(open_store, Script(asking(question("q1"))), **HURRY) as (runs, store):
        state = await ask(runs)
        with anyio.fail_after(5):
            before = await whole(runs, state.run_id)
            states = [await runs.cancel(state.run_id) for _ in range(2)]
            assert {each.status for each in states} == {RunStatus.CANCELLED}
            assert (await store.run(state.run_id)).status is RunStatus.CANCELLED
            assert types(await rest(await runs.watch(state.run_id, len(before)))) == ["cancelled", "done"]
            with pytest.raises(Conflict):
                await runs.answer(state.run_id, "q1", "late")


class Stumbling:
    """Keeps a checkpoint and fails the first time; then goes on from the checkpoint it is given."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    async def run(self, turn: Turn, emit: Emit) -> Result | Pause:
        self.turns.append(turn)
        if len(self.turns) == 1:
            for number in (1, 2):
                await turn.memory.keep_checkpoint(
                    Checkpoint(checkpoint_id=f"k{number}", phase="execution", at=number, body=b"x")
                )
            await turn.memory.keep_step("paid", b"for")
            await emit(token("half "))
            raise FleetError("It stumbled.")
        assert await turn.memory.step("paid") == b"for"
        await emit(token("whole"))
        return answer("whole")


@pytest.mark.parametrize("chosen", [None, "k1", "k2"])
async def test_a_failed_run_goes_on_from_a_checkpoint_in_the_same_log(
    open_store: OpenStore, chosen: str | None
) -> None:
    stumbling = Stumbling()
    async with running(open_store, stumbling) as (runs, store):
        state = await ask(runs)
        with anyio.fail_after(5):
            first = await whole(runs, state.run_id)
            assert [kept.checkpoint_id for kept in await runs.checkpoints(state.run_id)] == ["k1", "k2"]
            resumed = await runs.resume(state.run_id, chosen)
            assert (resumed.run_id, resumed.status) == (state.run_id, RunStatus.RUNNING)
            more = await rest(await runs.watch(state.run_id, len(first)))
        assert types(more) == ["connected", "response.delta", "response.completed", "done"]
        turn = stumbling.turns[1]
        assert turn.checkpoint is not None
        assert (turn.checkpoint.checkpoint_id, turn.retell) == (chosen or "k2", True)
        assert await store.checkpoints(state.run_id) == []  # a completed run needs none
        assert [m.role for m in (await store.conversation("c1", owner="local")).messages] == ["user", "assistant"]


async def resumed_by_five(runs: Runs, run_id: str) -> list[str]:
    outcomes: list[str] = []

    async def resume() -> None:
        try:
            await runs.resume(run_id)
            outcomes.append("won")
        except Conflict:
            outcomes.append("conflict")

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(resume)
    await runs.idle()
    return sorted(outcomes)


@row(34)
async def test_resuming_twice_at_once_has_one_winner(open_store: OpenStore) -> None:
    async with running(open_store, Stumbling()) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await whole(runs, state.run_id)
            assert await resumed_by_five(runs, state.run_id) == ["conflict"] * 4 + ["won"]


async def test_what_cannot_be_resumed_is_refused(open_store: OpenStore) -> None:
    async with running(open_store, Stumbling()) as (runs, _):
        failed = await ask(runs)
        with anyio.fail_after(5):
            await whole(runs, failed.run_id)
            with pytest.raises(NotFound):
                await runs.resume(failed.run_id, "unknown")
            with pytest.raises(NotFound):
                await runs.resume("nobody")
            await runs.resume(failed.run_id)
            await runs.idle()
            with pytest.raises(Conflict, match="completed"):
                await runs.resume(failed.run_id)


async def test_the_history_of_a_resumed_run_is_the_conversation_before_its_question(open_store: OpenStore) -> None:
    stumbling = Stumbling()
    async with running(open_store, Script(echo)) as (runs, _):
        with anyio.fail_after(5):
            await whole(runs, (await ask(runs)).run_id)
    async with running(open_store, stumbling) as (runs, _):
        with anyio.fail_after(5):
            state = await ask(runs)
            await whole(runs, state.run_id)
            await runs.resume(state.run_id)
            await runs.idle()
    assert [[m.role for m in turn.history] for turn in stumbling.turns] == [["user", "assistant"]] * 2


class Yielding(MemoryStore):
    """A store whose reads take a while, so that everybody has read before anybody goes on."""

    async def run(self, run_id: str) -> RunState:
        state = await super().run(run_id)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        return state


async def test_many_resumptions_at_once_over_a_slow_store_have_one_winner_and_harm_nobody() -> None:
    async with Runs.open(Yielding(), Stumbling(), Settings()) as runs:
        state = await ask(runs)
        with anyio.fail_after(5):
            await whole(runs, state.run_id)
            assert await resumed_by_five(runs, state.run_id) == ["conflict"] * 4 + ["won"]
            assert (await runs.state(state.run_id)).status is RunStatus.COMPLETED


async def test_two_answers_to_a_suspended_run_at_once_both_count() -> None:
    async with Runs.open(
        Yielding(), Script(asking(question("q1"), question("q2"))), Settings(input_timeout=1.0)
    ) as runs:
        state = await ask(runs)
        with anyio.fail_after(5):
            await whole(runs, state.run_id)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runs.answer, state.run_id, "q1", "blue")
                tasks.start_soon(runs.answer, state.run_id, "q2", "green")
            assert (await whole(runs, state.run_id))[-2]["message"] == "Thinking. blue green"


class Full(MemoryStore):
    full = False

    async def append(self, run_id: str, records: Any, *, state: RunState, answer: Any = None) -> None:
        if self.full:
            raise StoreFailed("The disk is full.")
        await super().append(run_id, records, state=state, answer=answer)


async def test_a_run_that_cannot_be_brought_back_stays_as_it_was_and_says_why() -> None:
    store = Full()
    async with Runs.open(store, Stumbling(), Settings()) as runs:
        state = await ask(runs)
        with anyio.fail_after(10):
            first = await whole(runs, state.run_id)
            store.full = True
            with pytest.raises(StoreFailed):
                await runs.resume(state.run_id)
            await runs.idle()
            store.full = False
            assert await whole(runs, state.run_id) == first
            assert (await runs.state(state.run_id)).status is RunStatus.FAILED
            await runs.resume(state.run_id)
            await runs.idle()
            assert (await runs.state(state.run_id)).status is RunStatus.COMPLETED


async def test_a_run_that_asks_after_it_went_back_to_an_early_checkpoint_goes_on_from_that_one(
    open_store: OpenStore,
) -> None:
    class Asking(Stumbling):
        async def run(self, turn: Turn, emit: Emit) -> Result | Pause:
            if self.turns and not turn.answers:
                self.turns.append(turn)
                return Pause(requests=(question("q1"),))
            return await super().run(turn, emit)

    asking = Asking()
    async with running(open_store, asking, **WAIT) as (runs, _):
        state = await ask(runs)
        with anyio.fail_after(5):
            await whole(runs, state.run_id)
            await runs.resume(state.run_id, "k1")
            await until(runs, state.run_id, RunStatus.WAITING)
            await runs.drain(5)  # suspended: the answer brings it back
    async with running(open_store, asking, **WAIT) as (runs, _):
        with anyio.fail_after(5):
            await runs.answer(state.run_id, "q1", "blue")
            await runs.idle()
    assert [turn.checkpoint and turn.checkpoint.checkpoint_id for turn in asking.turns] == [None, "k1", "k1"]


class Suspending(MemoryStore):
    """Takes its time to keep that a run is suspended."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.gate = anyio.Event(), anyio.Event()

    async def append(self, run_id: str, records: Any, *, state: RunState, answer: Any = None) -> None:
        if state.status is RunStatus.SUSPENDED:
            self.reached.set()
            await self.gate.wait()
        await super().append(run_id, records, state=state, answer=answer)


async def test_an_answer_to_a_run_that_is_just_being_suspended_brings_it_back() -> None:
    store = Suspending()
    async with Runs.open(store, Script(asking(question("q1"))), Settings(input_timeout=0.05)) as runs:
        state = await ask(runs)
        with anyio.fail_after(5):
            await store.reached.wait()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runs.answer, state.run_id, "q1", "blue")
                await anyio.lowlevel.checkpoint()
                store.gate.set()
            await runs.idle()
            assert (await runs.state(state.run_id)).status is RunStatus.COMPLETED

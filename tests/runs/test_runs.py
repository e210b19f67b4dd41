"""Runs: started, watched, resumed, cancelled, drained, repaired."""

import anyio
import pytest

from agentic_fleet.conversations import Message
from agentic_fleet.errors import Conflict, Draining, FleetError, NotFound, TooManyRuns
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.runs.endings import number
from agentic_fleet.store import IdempotencyKey
from agentic_fleet.turns import Ask, Emit, Result, RunState, RunStatus, Turn
from tests.faults.table import row
from tests.runs.conftest import OpenStore, ask, running
from tests.runs.reading import some, text, types, whole
from tests.script import Paced, Script, answer, echo, token


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

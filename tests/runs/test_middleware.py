"""Those who follow runs: what they are told, in which order, and that they can do no harm."""

import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from typing import Any

import anyio
import pytest

from agentic_fleet import context
from agentic_fleet.errors import FleetError
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.turns import Ask, ChatMiddleware, Emit, Result, RunState, RunStatus, Turn, Unfinished
from tests.runs.conftest import OpenStore
from tests.runs.reading import types, whole
from tests.script import Act, Paced, Script, answer, asking, echo, question, token


class Follower:
    """Keeps what it is told, by run; which run it is about it knows from a ContextVar alone."""

    tokens = True

    def __init__(self) -> None:
        self.told: dict[str, list[Any]] = defaultdict(list)
        self.marks: dict[str, Token[str]] = {}
        self.run: ContextVar[str] = ContextVar("run")

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        run_id = context["workflowId"]
        self.marks[run_id] = self.run.set(run_id)
        self.told[run_id].append((task, context))

    async def on_event(self, event: StreamEvent) -> None:
        self.told[self.run.get()].append(event.type)

    async def on_end(self, result: Any) -> None:
        await self._end(result)

    async def on_error(self, error: Exception) -> None:
        await self._end(error)

    async def _end(self, outcome: Any) -> None:
        run_id = self.run.get()
        self.told[run_id].append(outcome)
        self.run.reset(self.marks.pop(run_id))  # ValueError in another context than that of on_start
        assert not self.run.get("")


@asynccontextmanager
async def followed(
    open_store: OpenStore, act: Act, *middleware: ChatMiddleware, **knobs: Any
) -> AsyncIterator[tuple[Runs, Store]]:
    async with (
        open_store() as store,
        Runs.open(store, Script(act), Settings(**knobs), middleware=middleware) as runs,
    ):
        with anyio.fail_after(20):
            yield runs, store


async def ask(runs: Runs, message: str = "paint", chat: str = "c1", **more: Any) -> RunState:
    return await runs.start(chat, Ask(message=message, **more), create=True)


async def test_a_follower_hears_the_whole_story_in_order_and_the_end_when_it_is_stored(open_store: OpenStore) -> None:
    kept: list[tuple[RunStatus, list[str]]] = []

    class Checking(Follower):
        async def on_end(self, result: Any) -> None:
            run_id = self.run.get()
            kept.append(((await store.run(run_id)).status, types(shown)))
            await super().on_end(result)

    follower, shown = Checking(), list[Any]()
    async with followed(open_store, echo, follower) as (runs, store):
        with context.bind(caller="ada"):
            state = await ask(runs, "one two")
            events = await whole(runs, state.run_id)
        (task, told), *types_told, result = follower.told[state.run_id]
    assert (task, told["workflowId"], told["conversation_id"]) == ("one two", state.run_id, "c1")
    assert (told["caller"], told["mode"], told["created_at"]) == ("ada", "auto", state.created_at)
    assert (told["history"], told["resumed"]) == ((), False)
    assert types_told == types(events)
    assert result == Result(text="one two ", author="Writer", agent_id="writer", quality_score=8.0)
    assert kept == [(RunStatus.COMPLETED, [])]


async def test_two_hundred_runs_at_once_never_mix(open_store: OpenStore) -> None:
    follower = Follower()
    async with followed(open_store, echo, follower, max_runs=200) as (runs, _):
        states = [await ask(runs, f"marker-{number} is mine", f"c{number}") for number in range(200)]
        await runs.idle()
    for number, state in enumerate(states):
        (task, _), *types_told, result = follower.told[state.run_id]
        assert (task, result.text) == (f"marker-{number} is mine", f"marker-{number} is mine ")
        assert types_told == ["connected", *["response.delta"] * 3, "response.completed", "done"]
    assert not follower.marks


async def test_a_cancelled_run_is_told_as_unfinished(open_store: OpenStore) -> None:
    follower, paced = Follower(), Paced()
    async with followed(open_store, paced, follower) as (runs, _):
        state = await ask(runs)
        await paced.started.wait()
        await runs.cancel(state.run_id)
        *_, error = follower.told[state.run_id]
    assert isinstance(error, Unfinished)
    assert (error.status, str(error)) == (RunStatus.CANCELLED, "The run was cancelled.")


@pytest.mark.parametrize(
    ("error", "text"), [(FleetError("No ink."), "No ink."), (KeyError("secret"), "The run failed unexpectedly.")]
)
async def test_a_failed_run_is_told_with_the_safe_reason(open_store: OpenStore, error: Exception, text: str) -> None:
    async def fails(turn: Turn, emit: Emit) -> Result:
        await emit(token("a"))
        raise error

    follower = Follower()
    async with followed(open_store, fails, follower) as (runs, _):
        state = await ask(runs)
        await runs.idle()
        *_, told = follower.told[state.run_id]
    assert (told.status, str(told)) == (RunStatus.FAILED, text)


async def test_a_service_that_stops_tells_before_it_has_left(open_store: OpenStore) -> None:
    follower, paced = Follower(), Paced()
    async with followed(open_store, paced, follower) as (runs, _):
        state = await ask(runs)
        await paced.started.wait()
    assert follower.told[state.run_id][-1].status is RunStatus.INTERRUPTED


async def test_each_life_of_a_suspended_run_is_told_and_only_one_of_them_ends_it(open_store: OpenStore) -> None:
    follower = Follower()
    async with followed(open_store, asking(question("q1")), follower, input_timeout=0.05) as (runs, _):
        state = await ask(runs)
        await runs.idle()
        (_, first), *_, suspended = list(follower.told[state.run_id])
        assert (first["resumed"], suspended.status) == (False, RunStatus.SUSPENDED)
        follower.told.clear()
        await runs.answer(state.run_id, "q1", "blue")
        await runs.idle()
        (_, second), *_, result = follower.told[state.run_id]
    assert (second["resumed"], result.text) == (True, "Thinking. blue")


async def test_a_suspended_run_that_is_cancelled_is_told_too(open_store: OpenStore) -> None:
    follower = Follower()
    async with followed(open_store, asking(question("q1")), follower, input_timeout=0.05) as (runs, _):
        state = await ask(runs)
        await runs.idle()
        follower.told.clear()
        await runs.cancel(state.run_id)
    (_, told), *types_told, error = follower.told[state.run_id]
    assert (told["resumed"], types_told, error.status) == (True, ["cancelled", "done"], RunStatus.CANCELLED)


async def test_what_a_dead_process_left_is_told_at_the_next_start() -> None:
    store, follower = MemoryStore(), Follower()
    async with Runs.open(store, Script(echo), Settings()) as runs:
        before = await ask(runs, "hello")
        await runs.idle()
        left = RunState(
            run_id="left", conversation_id="c1", task="t", mode="auto", status=RunStatus.CREATED, created_at=1
        )
        ((question_, _),) = [(await store.conversation("c1", owner="local")).messages]
        await store.add_run(left, type(question_)(**_fields(question_) | {"id": "q", "workflow_id": "left"}))
    async with Runs.open(store, Script(echo), Settings(), middleware=[follower]):
        pass
    assert before.run_id not in follower.told
    (task, told), *_, error = follower.told["left"]
    assert (task, [message.content for message in told["history"]]) == ("t", ["hello", "hello "])
    assert error.status is RunStatus.INTERRUPTED


def _fields(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__slots__}


async def test_tokens_come_to_those_only_who_want_them(open_store: OpenStore) -> None:
    class Patient(Follower):
        tokens = False

    eager, patient = Follower(), Patient()
    async with followed(open_store, echo, eager, patient) as (runs, _):
        state = await ask(runs, "one two")
        await runs.idle()
    assert eager.told[state.run_id].count("response.delta") == 2
    assert patient.told[state.run_id][1:-1] == ["connected", "response.completed", "done"]


async def test_who_wants_the_first_token_hears_one_in_each_life_of_a_run(open_store: OpenStore) -> None:
    class Curious(Follower):
        tokens: Any = "first"

    async def act(turn: Turn, emit: Emit) -> Result:
        for _ in range(2):  # alone, then beside an event that everybody hears
            await emit(token("one "))
            await emit(token("two "))
            await runs.state(turn.run_id)
            await emit(StreamEvent(type=StreamEventType.AGENT_COMPLETE))
        return answer("one two one two ")

    curious = Curious()
    async with followed(open_store, act, curious) as (runs, _):
        state = await ask(runs, "go")
        await runs.idle()
    told = curious.told[state.run_id][1:-1]
    assert told == ["connected", "response.delta", "agent.complete", "agent.complete", "response.completed", "done"]


async def test_middleware_that_does_not_know_of_tokens_hears_none(open_store: OpenStore) -> None:
    class Plain:
        def __init__(self) -> None:
            self.heard: list[str] = []

        async def on_start(self, task: str, context: dict[str, Any]) -> None: ...

        async def on_event(self, event: StreamEvent) -> None:
            self.heard.append(event.type)

        async def on_end(self, result: Any) -> None:
            self.heard.append("end")

        async def on_error(self, error: Exception) -> None: ...

    plain: Any = Plain()
    async with followed(open_store, echo, plain) as (runs, _):
        await ask(runs)
        await runs.idle()
    assert plain.heard == ["connected", "response.completed", "done", "end"]


class Broken(Follower):
    """Fails in everything it is told."""

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        raise RuntimeError("broken")

    async def on_event(self, event: StreamEvent) -> None:
        raise RuntimeError("broken")

    async def on_end(self, result: Any) -> None:
        raise RuntimeError("broken")

    async def on_error(self, error: Exception) -> None:
        raise RuntimeError("broken")


class Stuck(Follower):
    """Never returns."""

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        await anyio.sleep_forever()

    async def on_event(self, event: StreamEvent) -> None:
        await anyio.sleep_forever()

    async def on_end(self, result: Any) -> None:
        await anyio.sleep_forever()

    async def on_error(self, error: Exception) -> None:
        await anyio.sleep_forever()


@pytest.mark.parametrize("bad", [Broken, Stuck])
async def test_one_that_fails_or_hangs_harms_neither_the_run_nor_its_neighbours_and_is_logged_once(
    open_store: OpenStore, bad: type[Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.middleware.PATIENCE", 0.05)
    first, last = Follower(), Follower()
    with caplog.at_level(logging.ERROR):
        async with followed(open_store, echo, first, bad(), last) as (runs, store):
            state = await ask(runs, "one two")
            events = await whole(runs, state.run_id)
            assert (await store.run(state.run_id)).status is RunStatus.COMPLETED
    assert [type(told) for told in first.told[state.run_id][-1:]] == [Result]
    assert first.told[state.run_id][1:-1] == last.told[state.run_id][1:-1] == types(events)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the middleware {bad.__name__} ")


async def test_cancelling_does_not_wait_for_one_that_hangs_longer_than_its_time(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.middleware.PATIENCE", 0.05)
    paced = Paced()
    async with followed(open_store, paced, Stuck()) as (runs, _):
        state = await ask(runs)
        await paced.started.wait()
        assert (await runs.cancel(state.run_id)).status is RunStatus.CANCELLED


async def test_a_run_whose_end_the_store_did_not_take_is_told_as_its_readers_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agentic_fleet.runs.run.LAST_EVENT", 0.05)

    class Failing(MemoryStore):
        async def append(self, *args: Any, **more: Any) -> None:
            if more.get("answer"):
                await anyio.sleep_forever()
            await super().append(*args, **more)

    follower = Follower()
    async with Runs.open(Failing(), Script(echo), Settings(), middleware=[follower]) as runs:
        with anyio.fail_after(10):
            state = await ask(runs)
            await runs.idle()
    *_, error = follower.told[state.run_id]
    assert (error.status, str(error)) == (
        RunStatus.FAILED,
        "The store failed: the end of this run could not be kept.",
    )
    assert follower.told[state.run_id][-3:-1] == [StreamEventType.ERROR, StreamEventType.DONE]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("score", [7.0, None])
async def test_an_answer_without_a_score_is_marked_when_one_will_come(late: bool, score: float | None) -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        return answer("", score)

    store = MemoryStore()
    async with Runs.open(store, Script(act), Settings(), scores_late=late) as runs:
        await ask(runs)
        await runs.idle()
        said = (await store.conversation("c1", owner="local")).messages[-1]
    assert (said.quality_score, said.quality_pending) == (score, late and score is None)

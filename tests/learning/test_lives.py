"""Executions of runs that live more than once: answered, resumed, dropped, or left by a dead process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import FleetError, StoreFailed
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.executions import Execution
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import Emit, Pause, PendingRequest, Result, RunStatus, Turn
from tests.learning.stage import Stage, stage
from tests.script import answer, asking, question, token


@asynccontextmanager
async def _reopened(path: Path, act: Any, store: Store | None, **knobs: Any) -> AsyncIterator[Stage]:
    if store is not None:
        async with stage(path, act, store=store, **knobs) as at:
            yield at
    else:
        async with open_sqlite(path / "fleet.db") as opened, stage(path, act, store=opened, **knobs) as at:
            yield at


async def asks_within_a_plan(turn: Turn, emit: Emit) -> Result | Pause:
    """The plan is told in the first life, the rest in the one that has the answer."""
    if not turn.answers:
        await emit(_analysis())
        await emit(StreamEvent(type=StreamEventType.AGENT_START, agent_id="writer"))
        return Pause(requests=(PendingRequest(request_id="q", request_type="UserInput", request={"question": "?"}),))
    await emit(StreamEvent(type=StreamEventType.AGENT_START, agent_id="writer"))
    await emit(StreamEvent(type=StreamEventType.AGENT_COMPLETE, agent_id="writer"))
    return answer(f"It is {turn.answers['q']}.")


def _analysis() -> StreamEvent:
    data = {"complexity": "simple", "capabilities": [], "decided_by": "rule", "cached": False}
    return StreamEvent(type=StreamEventType.ORCHESTRATOR_THOUGHT, kind="analysis", message="m", data=data)


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("kind", ["sqlite", "memory"])
async def test_a_suspended_run_that_is_answered_has_one_execution_that_tells_both_lives(
    tmp_path: Path, kind: str, restart: bool
) -> None:
    store = MemoryStore() if kind == "memory" else None
    async with _reopened(tmp_path, asks_within_a_plan, store, input_timeout=0.05) as at:
        execution = await at.done()
        run_id = execution.workflow_id
        assert (execution.account["status"], execution.account["lives"]) == ("suspended", 1)
        assert "error" not in execution.account
        assert at.examples() == []
        if not restart:
            await at.runs.answer(run_id, "q", "blue")
            await at.runs.idle()
            execution = await at.store.execution(run_id, owner="local")
    if restart:
        async with _reopened(tmp_path, asks_within_a_plan, store) as at:
            await at.runs.answer(run_id, "q", "blue")
            await at.runs.idle()
            execution = await at.store.execution(run_id, owner="local")
            assert len(await at.store.executions(owner="local", limit=9, offset=0)) == 1
    account = execution.account
    assert (account["status"], account["lives"], account["result"]) == ("completed", 2, "It is blue.")
    assert account["plan"]["complexity"] == "simple", "it was told in the first life"
    assert account["answers"] == [{"request_id": "q", "request_type": "UserInput", "response": "blue"}]
    assert [part["agent"] for part in account["parts"]] == ["writer"]
    assert len(at.examples()) == 1


async def test_a_suspended_run_that_is_cancelled_is_kept_as_cancelled(tmp_path: Path) -> None:
    async with stage(tmp_path, asking(question("q")), input_timeout=0.05) as at:
        execution = await at.done()
        await at.runs.cancel(execution.workflow_id)
        after = await at.store.execution(execution.workflow_id, owner="local")
    assert (after.account["status"], after.account["lives"]) == ("cancelled", 1)


async def test_a_failed_run_that_is_resumed_is_kept_as_what_it_came_to(tmp_path: Path) -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        await emit(_analysis())
        if not turn.retell:
            raise FleetError("No ink.")
        return answer("There is ink.")

    async with stage(tmp_path, act) as at:
        failed = await at.done()
        assert (failed.account["status"], failed.account["error"]) == ("failed", "No ink.")
        await at.runs.resume(failed.workflow_id)
        await at.runs.idle()
        after = await at.store.execution(failed.workflow_id, owner="local")
        (example,) = at.examples()
    assert (after.account["status"], after.account["lives"]) == ("completed", 2)
    assert "error" not in after.account
    assert (example.status, example.answer) == ("completed", "There is ink.")


async def test_what_a_dead_process_left_is_kept_at_the_next_start_from_its_log(tmp_path: Path) -> None:
    class Dying(MemoryStore):
        """Takes no endings: as if the process had been killed."""

        dying = True

        async def append(self, *args: Any, **more: Any) -> None:
            if self.dying and more["state"].status is not RunStatus.RUNNING:
                raise StoreFailed("The disk is full.")
            await super().append(*args, **more)

        async def keep_execution(self, execution: Execution) -> None:
            if self.dying:
                raise StoreFailed("The disk is full.")
            await super().keep_execution(execution)

    async def act(turn: Turn, emit: Emit) -> Result:
        await emit(_analysis())
        await emit(token("Half an answ"))
        emitted.set()
        await anyio.sleep_forever()
        raise AssertionError

    store, emitted = Dying(), anyio.Event()
    async with stage(tmp_path, act, store=store) as at:
        state = await at.ask("long")
        await emitted.wait()
        while (await store.run(state.run_id)).last_seq < 3:
            await anyio.lowlevel.checkpoint()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("agentic_fleet.runs.run.LAST_EVENT", 0.01)
            await at.runs.cancel(state.run_id)
    store.dying = False
    async with stage(tmp_path, act, store=store):
        execution = await store.execution(state.run_id, owner="local")
    assert (execution.account["status"], execution.account["task"]) == ("interrupted", "long")
    assert execution.account["plan"]["complexity"] == "simple"

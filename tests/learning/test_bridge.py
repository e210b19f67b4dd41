"""BridgeMiddleware: called by hand as well as by runs, by many at once, over stores that fail."""

import logging
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet import context
from agentic_fleet.errors import FleetError, StoreFailed
from agentic_fleet.executions import Execution
from agentic_fleet.learning.bridge import BridgeMiddleware
from agentic_fleet.learning.examples import read_examples
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import Ask, Emit, Result, RunStatus, Turn, Unfinished
from tests.faults.table import row
from tests.learning.stage import gone, stage, team
from tests.script import Paced, token


class Recording:
    """A history that keeps what it is given; every `third` time, if that is set, it fails."""

    def __init__(self, third: bool = False) -> None:
        self.kept: list[dict[str, Any]] = []
        self.calls = 0
        self._third = third

    async def save_execution_async(self, execution: dict[str, Any]) -> None:
        self.calls += 1
        if self._third and self.calls % 3 == 0:
            raise StoreFailed("The disk is full.")
        self.kept.append(execution)


@row(70)
async def test_ten_at_once_each_keep_their_own_task_id_and_result() -> None:
    history = Recording()
    middleware = BridgeMiddleware(history_manager=history, dspy_examples_path=None)

    async def run_task(number: int) -> None:
        await middleware.on_start(f"task_{number}", {"workflowId": str(number), "metadata": {"number": number}})
        await started.wait()
        await anyio.lowlevel.checkpoint()
        await middleware.on_end({"result": f"result_{number}", "task_id": number})

    started = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(run_task, number)
            await anyio.wait_all_tasks_blocked()
            started.set()
    assert len(history.kept) == 10
    for record in history.kept:
        number = record["task_id"]
        assert (record["task"], record["result"]) == (f"task_{number}", f"result_{number}")
        assert record["workflowId"] == record["workflow_id"] == str(number)
        assert (record["metadata"], record["status"]) == ({"number": number}, "completed")
        assert record["mode"] == "auto" and record["start_time"] <= record["end_time"]
    assert sorted(record["task_id"] for record in history.kept) == list(range(10))


@pytest.mark.parametrize("end", ["on_end", "on_error"])
async def test_an_end_without_a_start_warns_and_does_nothing(end: str, caplog: pytest.LogCaptureFixture) -> None:
    history = Recording()
    with caplog.at_level(logging.WARNING):
        await getattr(BridgeMiddleware(history), end)({"result": "x"} if end == "on_end" else ValueError("x"))
    assert history.calls == 0
    assert [record.getMessage() for record in caplog.records] == [f"{end} without on_start: there is nothing to keep"]


async def test_an_execution_ends_once_and_the_next_one_in_the_same_task_is_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = Recording()
    middleware = BridgeMiddleware(history)
    for number in range(3):
        await middleware.on_start(f"t{number}", {"workflowId": f"w{number}"})
        await middleware.on_end(number)
        await middleware.on_end("again")
    assert [(record["workflow_id"], record["result"]) for record in history.kept] == [
        ("w0", "0"),
        ("w1", "1"),
        ("w2", "2"),
    ]
    assert len(caplog.records) == 3


async def test_an_end_in_a_task_of_its_own_finds_the_execution_too() -> None:
    history = Recording()
    middleware = BridgeMiddleware(history)
    await middleware.on_start("t", {"workflowId": "w"})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(middleware.on_end, "fine")
    assert [record["result"] for record in history.kept] == ["fine"]


async def test_a_result_cannot_make_it_another_execution() -> None:
    history = Recording()
    middleware = BridgeMiddleware(history)
    await middleware.on_start("mine", {"workflowId": "w", "caller": "ada"})
    theirs = {"workflowId": "x", "workflow_id": "x", "task": "theirs", "caller": "bob", "completed_at": "soon"}
    await middleware.on_end({**theirs, "extra": {1, 2}})
    (record,) = history.kept
    assert (record["workflow_id"], record["task"], record["caller"]) == ("w", "mine", "ada")
    assert record["completed_at"] >= record["created_at"]


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (FleetError("No ink."), "failed", "No ink."),
        (ValueError("secret path"), "failed", "The run failed unexpectedly (ValueError)."),
        (Unfinished(RunStatus.INTERRUPTED, "It stopped."), "interrupted", "It stopped."),
        (Unfinished(RunStatus.CANCELLED, "The run was cancelled."), "cancelled", None),
    ],
)
async def test_an_error_is_kept_with_its_safe_reason(error: Exception, status: str, text: str | None) -> None:
    history = Recording()
    middleware = BridgeMiddleware(history)
    await middleware.on_start("t", {"workflowId": "w"})
    await middleware.on_error(error)
    (record,) = history.kept
    assert (record["status"], record.get("error")) == (status, text)


async def test_a_history_that_fails_is_logged_without_a_word_of_the_users(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad:
        async def save_execution_async(self, execution: dict[str, Any]) -> None:
            raise RuntimeError(f"cannot keep {execution['task']}")

    middleware = BridgeMiddleware(Bad(), tmp_path / "lines.jsonl")
    await middleware.on_start("secret", {"workflowId": "w"})
    await middleware.on_end("fine")
    assert [record.getMessage() for record in caplog.records] == ["an execution was not kept: RuntimeError"]
    assert [example.task for example in read_examples(tmp_path / "lines.jsonl")] == ["secret"]


async def test_a_folder_that_cannot_be_written_is_logged_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("not a folder")
    async with stage(tmp_path, team) as at:
        execution = await at.done()
    assert execution.account["status"] == "completed"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "an example was not kept: File exists"
    ]


async def test_everything_that_a_run_did_is_in_its_execution(tmp_path: Path) -> None:
    async with stage(tmp_path, team) as at:
        await at.done("Hello", "c1")
        execution = await at.done("a poem", "c1", mode="sequential")
        (_, example) = at.examples()
    account = execution.account
    assert (execution.conversation_id, execution.owner, account["status"]) == ("c1", "local", "completed")
    assert (account["task"], account["mode"], account["result"]) == ("a poem", "sequential", "a poem")
    assert [(said["role"], said["content"]) for said in account["context"]] == [
        ("user", "Hello"),
        ("assistant", "Hello"),
    ]
    assert account["plan"]["agents"] == ["researcher", "writer"]
    assert account["plan"]["subtasks"] == {"writer": "Write a poem."}
    assert (account["plan"]["complexity"], account["plan"]["decided_by"]) == ("complex", "model")
    assert account["routing"] == {"agents": ["writer"]}
    assert [(phase["phase"], phase["round"]) for phase in account["phases"]] == [
        ("analysis", 1),
        ("routing", 1),
        ("execution", 1),
        ("progress", 1),
        ("quality", 1),
        ("execution", 2),
        ("progress", 2),
        ("quality", 2),
    ]
    assert [part["agent"] for part in account["parts"]] == ["researcher", "writer"]
    assert all(entry["ms"] >= 0 for entry in (*account["parts"], *account["phases"], *account["tools"]))
    assert [(tool["tool"], tool["agent"], tool.get("failed")) for tool in account["tools"]] == [
        ("calculate", "researcher", None),
        ("fetch_url", "researcher", True),
    ]
    assert account["usage"] == {"calls": 4, "prompt_tokens": 40, "completion_tokens": 8}
    assert (account["models"], account["programs"]) == (["m-1"], {"planner": "v7", "assessor": "v3"})
    assert account["refinements"] == [{"round": 2, "missing": "A rhyme."}]
    assert [each["score"] for each in account["assessments"]] == [4.0, 8.0]
    assert (execution.quality.score, execution.quality.flag, execution.quality.by) == (8.0, None, "model")
    assert (example.workflow_id, example.task, example.answer) == (execution.workflow_id, "a poem", "a poem")
    assert [said.content for said in example.context] == ["Hello", "Hello"]
    assert (example.complexity, example.mode, example.agents) == ("complex", "sequential", ("researcher", "writer"))
    assert (example.subtasks, example.decided_by) == ({"writer": "Write a poem."}, "model")
    assert (example.asked_mode, example.status, example.quality_score) == ("sequential", "completed", 8.0)
    assert (example.model, example.program_version, example.at) == ("m-1", "v7", account["completed_at"])


@row(70)
async def test_two_hundred_runs_at_once_keep_their_own_and_nothing_else(tmp_path: Path) -> None:
    async def busy(turn: Turn, emit: Emit) -> Result:
        await released.wait()
        return await team(turn, emit)

    released = anyio.Event()
    async with open_sqlite(tmp_path / "fleet.db") as store, stage(tmp_path, busy, store=store, max_runs=200) as at:
        states = [await at.ask(f"marker-{number:03}-x", f"chat-{number:03}") for number in range(200)]
        released.set()
        await at.runs.idle()
        found = [
            *await store.executions(owner="local", limit=100, offset=0),
            *await store.executions(owner="local", limit=100, offset=100),
        ]
        examples = {example.workflow_id: example for example in at.examples()}
    assert [execution.workflow_id for execution in found] == [state.run_id for state in reversed(states)]
    for number, execution in enumerate(reversed(found)):
        marker, text = f"marker-{number:03}-x", str(execution.account)
        assert text.count("marker-") == text.count(marker) == 3  # task, subtask, result
        assert execution.conversation_id == f"chat-{number:03}"
        assert (examples[execution.workflow_id].task, examples[execution.workflow_id].answer) == (marker, marker)


class Flaky(MemoryStore):
    """Every third execution is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def keep_execution(self, execution: Execution) -> None:
        self.calls += 1
        if self.calls % 3 == 0:
            raise StoreFailed("The disk is full.")
        await super().keep_execution(execution)


async def test_a_store_that_fails_every_third_time_fails_no_run(tmp_path: Path) -> None:
    store = Flaky()
    async with stage(tmp_path, team, store=store) as at:
        states = []
        for number in range(9):
            states.append(await at.ask(f"t{number}", f"c{number}"))
            await at.runs.idle()
        assert {(await store.run(state.run_id)).status for state in states} == {RunStatus.COMPLETED}
        assert [await gone(store, state.run_id) for state in states] == [False, False, True] * 3
        assert len(at.examples()) == 9


async def test_a_cancelled_run_is_kept_as_such(tmp_path: Path) -> None:
    paced = Paced()
    async with stage(tmp_path, paced) as at:
        state = await at.ask("long")
        await paced.started.wait()
        await at.runs.cancel(state.run_id)
        execution = await at.store.execution(state.run_id, owner="local")
        (example,) = at.examples()
    assert (execution.account["status"], execution.account.get("result")) == ("cancelled", None)
    assert "error" not in execution.account
    assert (execution.quality.score, example.status, example.answer) == (None, "cancelled", "")


async def test_a_failed_run_is_kept_with_the_reason_its_readers_saw(tmp_path: Path) -> None:
    async def fails(turn: Turn, emit: Emit) -> Result:
        await emit(token("a"))
        raise KeyError("secret")

    async with stage(tmp_path, fails) as at:
        execution = await at.done()
    assert (execution.account["status"], execution.account["error"]) == ("failed", "The run failed unexpectedly.")


async def test_history_is_there_when_done_has_been_seen(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "fleet.db") as store, stage(tmp_path, team, store=store) as at:
        for number in range(20):
            state = await at.ask(f"t{number}")
            with await at.runs.watch(state.run_id) as watch:
                while await watch.next():
                    pass
            assert not await gone(store, state.run_id)


async def test_a_dropped_conversation_leaves_no_execution(tmp_path: Path) -> None:
    paced = Paced()
    async with open_sqlite(tmp_path / "fleet.db") as store, stage(tmp_path, paced, store=store) as at:
        state = await at.ask()
        await paced.started.wait()
        await at.runs.drop_conversation("c1")
        await at.runs.idle()
        assert await gone(store, state.run_id)


async def test_without_a_history_nothing_is_kept(tmp_path: Path) -> None:
    async with stage(tmp_path, team, history="off") as at:
        state = await at.ask()
        await at.runs.idle()
        assert await gone(at.store, state.run_id)
        assert at.examples() == []
    assert os.listdir(tmp_path) == []


async def test_a_run_belongs_to_who_asked_it(tmp_path: Path) -> None:
    async with stage(tmp_path, team) as at:
        with context.bind(caller="ada"):
            state = await at.runs.start("c1", Ask(message="t"), create=True)
            await at.runs.idle()
        assert (await at.store.execution(state.run_id, owner="ada")).account["caller"] == "ada"
        assert [example.caller for example in at.examples()] == ["ada"]

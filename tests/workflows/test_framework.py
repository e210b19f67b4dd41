"""The adapter to Agent Framework: who owns a run, in which order its events come, and how it ends."""

import contextlib
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from agent_framework import (
    Executor,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowEvent,
    handler,
)
from agent_framework.observability import OBSERVABILITY_SETTINGS
from opentelemetry import trace

from agentic_fleet.errors import BadSetting
from agentic_fleet.workflows import framework
from agentic_fleet.workflows.framework import check_versions, owned_events, prepare
from agentic_fleet.workflows.mapping import UNHEARD
from tests.faults.table import row


@dataclass(frozen=True)
class Step:
    number: int


class Stage(Executor):
    """Notes that it works, tells the graph, and hands on."""

    def __init__(self, id: str, notes: list[str]) -> None:
        super().__init__(id)
        self.notes = notes

    @handler
    async def work(self, step: Step, context: WorkflowContext[Step, str]) -> None:
        self.notes.append(f"{self.id} works")
        for part in ("a", "b"):
            await context.add_event(WorkflowEvent("phase", f"{self.id}{part}"))  # type: ignore[arg-type]  # our own type
        await context.send_message(Step(step.number + 1))


class Endless(Executor):
    """Works until it is cancelled, then takes a few turns of the loop to tidy up."""

    def __init__(self) -> None:
        super().__init__("endless")
        self.working = anyio.Event()
        self.ends: list[str] = []

    @handler
    async def work(self, step: Step, context: WorkflowContext[Step, str]) -> None:
        self.working.set()
        try:
            await anyio.sleep_forever()
        finally:
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            self.ends.append("tidy")


class Broken(Executor):
    def __init__(self) -> None:
        super().__init__("broken")

    @handler
    async def work(self, step: Step, context: WorkflowContext[Step, str]) -> None:
        raise LookupError("the very one")


class Deaf(Executor):
    """Cannot be cancelled for a while."""

    def __init__(self, release: anyio.Event) -> None:
        super().__init__("deaf")
        self.working = anyio.Event()
        self.release = release

    @handler
    async def work(self, step: Step, context: WorkflowContext[Step, str]) -> None:
        self.working.set()
        while not self.release.is_set():
            with contextlib.suppress(anyio.get_cancelled_exc_class()):
                await self.release.wait()


def chain(*stages: Executor, name: str | None = None) -> Workflow:
    builder = WorkflowBuilder(start_executor=stages[0], name=name, output_from=[stages[-1]])
    return (builder.add_chain(list(stages)) if len(stages) > 1 else builder).build()


@pytest.mark.parametrize("unheard", [frozenset(), UNHEARD], ids=["all heard", "some unheard"])
async def test_all_events_of_a_stage_are_handled_before_the_next_stage_starts(unheard: frozenset[str]) -> None:
    notes: list[str] = []
    stages = [Stage(id, notes) for id in "123"]
    with anyio.fail_after(5):
        async with owned_events(chain(*stages), Step(0), unheard=unheard) as events:
            async for event in events:
                if str(event.type) == "phase":
                    for _ in range(20):  # every chance for the workflow to run ahead
                        await anyio.lowlevel.checkpoint()
                    notes.append(f"{event.data} seen")
    expected = [[f"{id} works", f"{id}a seen", f"{id}b seen"] for id in "123"]
    assert notes == [note for stage in expected for note in stage]


async def test_unheard_types_are_left_out_and_nothing_else() -> None:
    heard: dict[bool, list[str]] = {}
    for all in (True, False):
        async with owned_events(chain(Stage("1", [])), Step(0), unheard=() if all else UNHEARD) as events:
            heard[all] = [str(event.type) async for event in events]
    assert heard[False] == [type for type in heard[True] if type not in UNHEARD]
    assert len(heard[False]) < len(heard[True])


async def test_an_exception_of_the_workflow_comes_out_as_it_was_raised() -> None:
    with anyio.fail_after(5), pytest.raises(LookupError, match="the very one"):
        async with owned_events(chain(Broken()), Step(0)) as events:
            async for _ in events:
                pass


async def test_leaving_early_ends_the_workflow_with_its_cleanup_done() -> None:
    endless = Endless()
    with anyio.fail_after(5):
        async with owned_events(chain(endless), Step(0)) as events:
            async for event in events:
                if event.type == "superstep_started":
                    break
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_drain, events)
                await endless.working.wait()
                tasks.cancel_scope.cancel()
    assert endless.ends == ["tidy"]


async def test_cancelling_the_scope_around_it_lets_the_cleanup_finish() -> None:
    endless = Endless()

    async def consume() -> None:
        async with owned_events(chain(endless), Step(0)) as events:
            async for _ in events:
                pass

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await endless.working.wait()
            tasks.cancel_scope.cancel()
    assert endless.ends == ["tidy"]


async def test_an_exception_of_the_consumer_ends_the_workflow_and_goes_on() -> None:
    endless = Endless()
    with anyio.fail_after(5), pytest.raises(ZeroDivisionError):
        async with owned_events(chain(endless), Step(0)) as events:
            async for event in events:
                if event.type == "executor_invoked":
                    await endless.working.wait()
                    raise ZeroDivisionError
    assert endless.ends == ["tidy"]


@row(22)
async def test_a_workflow_that_does_not_end_is_left_to_itself_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(framework, "GRACE", 0.01)
    release = anyio.Event()
    deaf = Deaf(release)
    with anyio.fail_after(5):
        async with owned_events(chain(deaf), Step(0)) as events:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_drain, events)
                await deaf.working.wait()
                tasks.cancel_scope.cancel()
        assert "had not ended" in caplog.text
        release.set()
        await anyio.wait_all_tasks_blocked()


async def test_a_workflow_can_be_run_many_times_at_once() -> None:
    notes: list[list[str]] = [[] for _ in range(10)]

    async def consume(mine: list[str]) -> None:
        async with owned_events(chain(Stage("1", mine), Stage("2", mine)), Step(0)) as events:
            await _drain(events)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for mine in notes:
                tasks.start_soon(consume, mine)
    assert notes == [["1 works", "2 works"]] * 10


@pytest.mark.parametrize("version", ["1.22.9", "1.24.0", "2.23.0", "0.23.1"])
def test_a_framework_we_do_not_know_is_refused_in_one_line(version: str) -> None:
    with pytest.raises(BadSetting) as refused:
        check_versions(version)
    assert str(refused.value) == (f"agent-framework-core {version} is installed, but this service needs >=1.23,<1.24.")


@pytest.mark.parametrize("version", ["1.23.0", "1.23.11.post1"])
def test_the_known_releases_are_accepted(version: str) -> None:
    check_versions(version)


def test_without_anybody_who_collects_them_the_framework_makes_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    prepare()
    assert not OBSERVABILITY_SETTINGS.ENABLED
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    prepare()
    assert OBSERVABILITY_SETTINGS.ENABLED
    monkeypatch.undo()
    prepare()


async def _drain(events: Any) -> None:
    async for _ in events:
        pass

"""The supervisor over real HTTP: its phases, its calls of the model, and what is left when a run is cancelled."""

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest
from agent_framework import Executor, WorkflowBuilder, WorkflowContext, handler

from agentic_fleet.errors import TimedOut
from agentic_fleet.events import StreamEventType
from agentic_fleet.settings import Settings
from agentic_fleet.testing import Reply, ScriptedModel, answer
from agentic_fleet.turns import Mode
from agentic_fleet.workflows import fleet as fleet_module
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.fleet import open_fleet
from agentic_fleet.workflows.messages import Begun
from tests.faults.table import row
from tests.workflows.team import (
    Screen,
    Script,
    bounded,
    decision,
    finished,
    fleet_over,
    model_over,
    plan,
    roster_file,
    says,
    turn,
)

_TYPE = StreamEventType
TEAMS: dict[Mode, tuple[str, ...]] = {
    "fast": ("researcher",),
    "delegated": ("writer",),
    "sequential": ("researcher", "writer"),
    "parallel": ("researcher", "analyst", "coder"),
    "handoff": ("researcher", "writer"),
    "discussion": ("researcher", "writer"),
}


async def test_a_fast_run_makes_one_call_and_still_shows_every_phase(fake: ScriptedModel, endpoint: Endpoint) -> None:
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn("Hello there!"), screen)
    assert len(fake.calls) == 1
    assert result.text == screen.text() == "Re: Hello there!"
    thoughts = [e.kind for e in screen.of(_TYPE.ORCHESTRATOR_THOUGHT)]
    assert thoughts == ["analysis", "routing", "execution", "progress", "quality"]
    assert screen.thought("routing")["mode"] == "fast"
    assert screen.thought("routing")["decided_by"] == "rule"
    assert screen.thought("quality")["decided_by"] == "rules"


async def test_a_delegated_run_makes_three_calls(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), screen)
    assert [decision(call.body) for call in fake.calls] == ["plan", None, "assessment"]
    assert screen.thought("analysis") == {
        "complexity": "complex",
        "capabilities": ["writing"],
        "decided_by": "model",
        "cached": False,
        "usage": {"models": ["Model One"], "calls": 1, "prompt_tokens": 17, "completion_tokens": 1},
    }
    assert screen.thought("routing")["subtasks"] == {"writer": "the part of writer"}
    assert screen.thought("quality") == {
        "score": 9.0,
        "flag": None,
        "missing": "",
        "decided_by": "model",
        "round": 1,
        "program_version": "packaged",
    }
    assert (result.quality_score, result.quality_flag) == (9.0, None)


async def test_a_poor_score_flags_the_answer(fake: ScriptedModel, endpoint: Endpoint) -> None:
    poor = {"verdict": "refine", "score": 3, "missing": "The poem."}
    fake.reply = Script(plan=plan("delegated", "writer"), assessment=poor)
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint, roster=bounded(max_refinements=0)), turn(), screen)
    assert (result.quality_score, result.quality_flag) == (3.0, "low_confidence")
    (shown,) = [e for e in screen.of(_TYPE.ORCHESTRATOR_THOUGHT) if e.kind == "quality"]
    assert (shown.quality_score, shown.quality_flag, shown.message) == (3.0, "low_confidence", "3 of 10. The poem.")
    assert screen.thought("progress")["verdict"] == "refine"


@pytest.mark.parametrize("mode", list(TEAMS))
async def test_a_forced_mode_overrides_the_planned_one(fake: ScriptedModel, endpoint: Endpoint, mode: Mode) -> None:
    planned = "parallel" if mode in ("fast", "delegated") else "delegated"
    fake.reply = Script(plan=plan(planned, "coder", "reviewer"))
    screen = Screen()
    with anyio.fail_after(10):
        await fleet_over(endpoint).run(turn(mode=mode), screen)
    routed = screen.thought("routing")
    assert routed["mode"] == mode
    assert len(routed["agents"]) == (1 if mode in ("fast", "delegated") else 2)
    assert screen.text()


@pytest.mark.parametrize("mode", list(TEAMS))
@pytest.mark.parametrize("tokens_before", [0, 1])
async def test_cancelling_a_run_closes_every_connection_to_the_model(
    fake: ScriptedModel, endpoint: Endpoint, mode: Mode, tokens_before: int
) -> None:
    held = says("a", "b", hold_after=(tokens_before, anyio.Event()))
    working = 3 if mode == "parallel" else 1
    fake.reply = Script(plan=plan(mode, *TEAMS[mode]), says=dict.fromkeys(TEAMS[mode], held))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet_over(endpoint).run, turn(mode=mode), Screen())
            await fake.wait_for(
                lambda: (
                    sum(call.tokens_sent >= tokens_before and call.state == "open" for call in fake.calls) == working
                    and not any(decision(call.body) for call in fake.calls if call.state == "open")
                )
            )
            tasks.cancel_scope.cancel()
        await fake.settled()
    assert (fake.open, fake.hangups) == (0, working)


async def test_cancelling_while_a_decision_is_made_closes_its_connection(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = lambda body: says("{", hold_before=anyio.Event())
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet_over(endpoint).run, turn(), Screen())
            await fake.wait_for(lambda: fake.open == 1)
            tasks.cancel_scope.cancel()
        await fake.settled()
    assert (fake.hangups, len(fake.calls)) == (1, 1)


async def test_a_phase_that_takes_too_long_is_named(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("{", hold_before=anyio.Event())
    with anyio.fail_after(10), pytest.raises(TimedOut, match=r"^The phase analysis took longer than 0\.2 s\.$"):
        await fleet_over(endpoint, roster=bounded(phase_timeout=0.2)).run(turn(), Screen())
    await fake.settled()
    assert fake.hangups == 1


async def test_an_execution_that_takes_too_long_closes_every_connection(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    held = says("a", "b", hold_after=(1, anyio.Event()))
    fake.reply = Script(plan=plan("parallel", "researcher", "analyst"), says={"researcher": held, "analyst": held})
    with anyio.fail_after(10), pytest.raises(TimedOut, match=r"^The phase execution took longer than 2 s\.$"):
        await fleet_over(endpoint, roster=bounded(phase_timeout=2)).run(turn(), Screen())
    await fake.settled()
    assert fake.hangups == 2


async def test_cancelling_while_the_run_does_not_take_events_ends_it(fake: ScriptedModel, endpoint: Endpoint) -> None:
    blocked = anyio.Event()

    async def emit(event: Any) -> None:
        if event.type is _TYPE.RESPONSE_DELTA:
            blocked.set()
            await anyio.sleep_forever()

    fake.reply = lambda body: says("a", "b", "c", hold_after=(2, anyio.Event()))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet_over(endpoint).run, turn(mode="fast"), emit)
            await blocked.wait()
            tasks.cancel_scope.cancel()
        await fake.settled()
    assert fake.hangups == 1


@row(70)
async def test_runs_at_the_same_time_do_not_mix(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fleet = fleet_over(endpoint)
    teams = plan("sequential", "researcher", "writer")
    everyone = anyio.Event()
    agents_calls = 0

    def reply(body: Any) -> Reply:
        nonlocal agents_calls
        if decision(body):
            return Script(plan=teams)(body)
        agents_calls += 1
        if agents_calls == 6:
            everyone.set()
        return Reply(tokens=answer(body).tokens, hold_before=everyone)

    fake.reply = reply
    screens = {f"marker-{number}": Screen() for number in range(6)}
    results: dict[str, str] = {}

    async def run(marker: str) -> None:
        task = f"Explain what the word {marker} could mean and then write a story about it."
        results[marker] = (await finished(fleet, turn(task), screens[marker])).text

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for marker in screens:
                tasks.start_soon(run, marker)
    for marker, screen in screens.items():
        shown = repr(screen.events)
        assert results[marker] == screen.text()
        assert marker in results[marker]
        assert not [other for other in screens if other != marker and other in shown]


async def test_a_graph_that_ends_without_an_answer_is_an_error(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "_graph", lambda *_: WorkflowBuilder(start_executor=Silent("silent")).build())
    with anyio.fail_after(10), pytest.raises(RuntimeError, match="without an answer"):
        await fleet_over(endpoint).run(turn(), Screen())


class Silent(Executor):
    @handler
    async def drop(self, _: Begun, context: WorkflowContext[str]) -> None:
        pass


async def test_building_with_a_small_model_trains_a_classifier_that_plans(
    fake: ScriptedModel, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "agentic_fleet"), anyio.fail_after(60):
        screen = Screen()
        async with open_fleet(Settings(), model_over(endpoint, small=True)) as fleet:
            await fleet.run(turn(), screen)
    assert "the classifier plans; on the held-out tasks" in caplog.text
    assert screen.thought("routing")["decided_by"] == "classifier"
    assert screen.thought("quality")["decided_by"] == "rules"
    assert not any(decision(call.body) for call in fake.calls)


async def test_a_roster_of_strangers_is_planned_for_by_rules(
    endpoint: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = 'description = "d"\ninstructions = "i"\nskill = "singing"\ncues = ["poem"]'
    text = f'[workflow]\nfast_agent = "anna"\nsynthesis_agent = "anna"\n[agents.anna]\n{agent}\n[agents.otto]\n{agent}'
    screen = Screen()
    with anyio.fail_after(10):
        settings = Settings(roster=roster_file(tmp_path, text))
        async with open_fleet(settings, model_over(endpoint, small=True)) as fleet:
            await fleet.run(turn(), screen)
    assert "rules plan instead of the classifier" in caplog.text
    assert screen.thought("routing")["decided_by"] == "rule"
    assert screen.thought("routing")["agents"] == ["anna", "otto"]


async def test_building_with_a_large_model_lets_the_model_plan(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "coder"))
    screen = Screen()
    with anyio.fail_after(10):
        async with open_fleet(Settings(), model_over(endpoint, small=False)) as fleet:
            await fleet.run(turn(), screen)
    assert screen.thought("routing")["decided_by"] == "model"


async def test_the_tools_of_the_roster_are_checked_and_work(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    agent = 'description = "d"\ninstructions = "i"\nskill = "sums"\ntools = ["calculate", "gone"]'
    text = '[workflow]\nfast_agent = "anna"\nsynthesis_agent = "anna"\n[tools.gone]\nfunction = "no_such:thing"\n'
    sums = says(tool_calls=[("calculate", '{"expression": "6*7"}')])
    fake.reply = lambda body: says("It is 42.") if body["messages"][-1]["role"] == "tool" else sums
    settings = Settings(roster=roster_file(tmp_path, f"{text}[agents.anna]\n{agent}"))
    with anyio.fail_after(10):
        async with open_fleet(settings, model_over(endpoint, small=False)) as fleet:
            assert {name: check.status for name, check in fleet.checks.items()} == {"calculate": "ok", "gone": "failed"}
            screen = Screen()
            result = await finished(fleet, turn("What is 6 times 7?", mode="fast"), screen)
    assert result.text == "It is 42."
    assert (screen.of(_TYPE.TOOL_RESULT)[0].data or {})["result"] == "42"

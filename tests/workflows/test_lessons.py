"""The history of real runs: the supervisor over HTTP, its decisions, agents and tools, as learning sees them."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.executions import Execution
from agentic_fleet.learning import EXAMPLES, open_learning
from agentic_fleet.learning.examples import Example, read_examples
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.testing import ScriptedModel
from agentic_fleet.turns import Ask, RunStatus
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.fleet import Fleet
from tests.workflows.team import TASK, Script, bounded, fleet_over, paying_fleet, plan, says
from tests.workflows.test_pauses import PAY, payers


async def kept(home: Path, fleet: Fleet, *answers: Any, **ask: Any) -> tuple[Execution, Example]:
    """What is kept of one run of the fleet, whose questions are answered in turn."""
    settings = Settings(home=home)
    with anyio.fail_after(20):
        async with (
            open_sqlite(home / "fleet.db") as store,
            open_learning(settings, store, fleet, pass_score=fleet.roster.bounds.pass_score) as learning,
            Runs.open(store, fleet, settings, middleware=learning.middleware, scores_late=True) as runs,
        ):
            state = await runs.start("c1", Ask(message=TASK, **ask), create=True)
            for answer in answers:
                watch = await runs.watch(state.run_id)
                with watch:
                    while (now := await runs.state(state.run_id)).status is not RunStatus.WAITING:
                        await watch.next()
                await runs.answer(state.run_id, now.pending_requests[0].request_id, answer)
            await runs.idle()
            execution = await store.execution(state.run_id, owner="local")
    (example,) = read_examples(home / EXAMPLES)
    return execution, example


async def test_a_sequence_is_kept_with_its_plan_and_what_it_cost(
    tmp_path: Path,
    fake: ScriptedModel,
    endpoint: Endpoint,
) -> None:
    fake.reply = Script(plan=plan("sequential", "researcher", "writer"))
    execution, example = await kept(tmp_path, fleet_over(endpoint))
    account = execution.account
    assert account["status"] == "completed"
    assert account["usage"]["calls"] == len(fake.calls) == 4
    assert account["models"] == ["Model One"]
    assert [part["agent"] for part in account["parts"]] == ["researcher", "writer"]
    assert account["routing"] == {"agents": ["researcher", "writer"]}
    assert (execution.quality.score, execution.quality.by) == (9.0, "model")
    assert (example.task, example.mode, example.agents) == (TASK, "sequential", ("researcher", "writer"))
    assert example.subtasks == {"researcher": "the part of researcher", "writer": "the part of writer"}
    assert (example.complexity, example.decided_by, example.model) == ("complex", "model", "Model One")
    assert example.answer == account["result"]


async def test_a_refined_answer_is_kept_with_its_rounds(
    tmp_path: Path,
    fake: ScriptedModel,
    endpoint: Endpoint,
) -> None:
    poor = {"verdict": "refine", "score": 3, "missing": "The poem."}
    fake.reply = Script(plan=plan("delegated", "writer"), assessment=poor)
    execution, example = await kept(tmp_path, fleet_over(endpoint, roster=bounded(max_refinements=1)))
    assert execution.account["refinements"] == [{"round": 2, "missing": "The poem."}]
    assert [each["round"] for each in execution.account["assessments"]] == [1, 2]
    assert (execution.quality.score, execution.quality.flag) == (3.0, "low_confidence")
    assert (example.quality_score, example.quality_flag) == (3.0, "low_confidence")


async def test_a_fast_answer_has_the_score_of_rules_at_once(
    tmp_path: Path,
    fake: ScriptedModel,
    endpoint: Endpoint,
) -> None:
    execution, _ = await kept(tmp_path, fleet_over(endpoint), mode="fast")
    assert (execution.quality.by, len(fake.calls)) == ("rules", 1)


async def test_a_refusal_is_flagged(tmp_path: Path, fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"), says={"writer": says("I'm sorry, ", "I cannot do that.")})
    execution, _ = await kept(tmp_path, fleet_over(endpoint))
    assert execution.quality.flag == "refusal"


async def test_tools_and_the_humans_who_approve_them_are_kept(
    tmp_path: Path,
    fake: ScriptedModel,
    endpoint: Endpoint,
) -> None:
    fake.reply = payers(plan("delegated", "analyst"), analyst=PAY)
    async with paying_fleet(endpoint) as fleet:
        execution, _ = await kept(tmp_path, fleet, True)
    account = execution.account
    assert [(tool["tool"], tool["agent"]) for tool in account["tools"]] == [("pay", "analyst")]
    assert [(each["request_type"], each["response"]) for each in account["answers"]] == [("ToolApproval", True)]
    assert account["usage"]["calls"] == len(fake.calls) == 4
    assert account["lives"] == 1


@pytest.mark.parametrize("mode", ["parallel", "handoff", "discussion"])
async def test_every_mode_is_kept_with_who_really_worked(
    tmp_path: Path,
    fake: ScriptedModel,
    endpoint: Endpoint,
    mode: Any,
) -> None:
    fake.reply = Script(plan=plan("parallel", "researcher", "coder"))
    execution, example = await kept(tmp_path, fleet_over(endpoint), mode=mode)
    assert (execution.account["plan"]["mode"], example.asked_mode) == (mode, mode)
    assert execution.account["usage"]["calls"] == len(fake.calls)
    assert set(execution.account["routing"]["agents"]) <= {"researcher", "coder"}

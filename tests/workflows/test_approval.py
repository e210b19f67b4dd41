"""Plans that wait for a human: approved, changed in words, or never right."""

import json
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import FleetError
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.workflows.approval import MOST_CHANGES, changes_in
from agentic_fleet.workflows.endpoint import Endpoint
from tests.workflows.team import (
    Notebook,
    Screen,
    Script,
    answered,
    assert_told_once,
    decision,
    finished,
    fleet_over,
    paused,
    plan,
    resumed,
    turn,
)


async def test_a_plan_waits_for_approval_before_anybody_works(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    screen, first = Screen(), turn(memory=Notebook(), require_plan_approval=True)
    with anyio.fail_after(10):
        fleet = fleet_over(endpoint)
        pause = await paused(fleet, first, screen)
        (request,) = pause.requests
        assert (request.request_type, request.request["agents"]) == ("PlanReview", ["writer"])
        assert screen.story() == ["orchestrator.message progress", "orchestrator.thought analysis"]
        result = await finished(fleet, answered(first, pause, {"approved": True}), screen)
    assert result.text == screen.text()
    assert_told_once(screen)
    assert [decision(call.body) for call in fake.calls] == ["plan", None, "assessment"]


async def test_changes_in_words_lead_to_another_plan_and_another_question(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = lambda body: Script(plan=plan("delegated", "coder" if "instead" in str(body) else "writer"))(body)
    screen, first = Screen(), turn(memory=Notebook(), require_plan_approval=True)
    with anyio.fail_after(10):
        fleet = fleet_over(endpoint)
        one = await paused(fleet, first, screen)
        second = answered(first, one, "Use the coder instead of the writer, please.")
        two = await paused(fleet, second, screen)
        assert two.requests[0].request["agents"] == ["coder"]
        result = await finished(fleet, answered(second, two, "yes"), screen)
    assert result.agent_id == "coder"
    assert screen.thought("routing")["agents"] == ["coder"]
    assert_told_once(screen)
    assert [decision(call.body) for call in fake.calls] == ["plan", "plan", None, "assessment"]
    assert "Use the coder instead of the writer, please." in json.dumps(fake.calls[1].body)


async def test_a_plan_that_rules_made_stays_when_the_model_is_back(fake: ScriptedModel, endpoint: Endpoint) -> None:
    plans = iter([Script(plan=plan("delegated", "writer")), None, Script(plan=plan("delegated", "coder"))])

    def reply(body: Body) -> Reply:
        if decision(body) != "plan":
            return Script()(body)
        script = next(plans)
        return script(body) if script else Reply(status=400)

    fake.reply = reply
    first = turn(memory=Notebook(), require_plan_approval=True)
    with anyio.fail_after(10):
        fleet = fleet_over(endpoint)
        second = answered(first, await paused(fleet, first, Screen()), "Somebody else.")
        two = await paused(fleet, second, Screen())
        result = await finished(fleet, answered(second, two, True), Screen())
    assert result.agent_id in two.requests[0].request["agents"]
    assert [decision(call.body) for call in fake.calls].count("plan") == 2


async def test_a_plan_that_is_never_right_ends_the_run(endpoint: Endpoint) -> None:
    screen, now = Screen(), turn(memory=Notebook(), require_plan_approval=True)
    with anyio.fail_after(20):
        fleet = fleet_over(endpoint)
        for _ in range(MOST_CHANGES + 1):
            now = answered(now, await paused(fleet, now, screen), False)
        with pytest.raises(FleetError, match=r"^The plan was changed 5 times and is still not approved\.$"):
            await fleet.run(now, screen)


@pytest.mark.parametrize("answer", [True, "yes", " Approved! ", "looks good", {"approved": True}, {"approved": "ok"}])
def test_what_approves_a_plan(answer: Any) -> None:
    assert changes_in(answer) == ""


@pytest.mark.parametrize(
    ("answer", "changes"),
    [
        ("in parallel", "in parallel"),
        ({"changes": "no coder"}, "no coder"),
        ({"approved": False, "feedback": " shorter "}, "shorter"),
        ({"approved": False}, "The user wants another plan."),
        (False, "The user wants another plan."),
        (None, "The user wants another plan."),
        (["odd"], "The user wants another plan."),
        ("x" * 5000, "x" * 2000),
    ],
)
def test_what_changes_a_plan(answer: Any, changes: str) -> None:
    assert changes_in(answer) == changes


async def test_a_plan_that_was_agreed_to_is_not_asked_about_again(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    memory, fleet = Notebook(), fleet_over(endpoint)
    first = turn(memory=memory, require_plan_approval=True)
    with anyio.fail_after(10):
        second = answered(first, await paused(fleet, first, Screen()), True)
        await finished(fleet, second, Screen())
        await finished(fleet, resumed(second, at=memory.before("analysis")), Screen())  # the plan is a cached one now

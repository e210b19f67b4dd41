"""What a run has cost: the sum of what the model reports, or nothing when it is not the whole."""

from typing import Any

import anyio
import pytest

from agentic_fleet.testing import Body, ScriptedModel
from agentic_fleet.turns import Usage
from agentic_fleet.workflows import spending
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.spending import counted
from tests.workflows.team import Screen, Script, finished, fleet_over, plan, says, turn

ONE = {"prompt_tokens": 10, "completion_tokens": 3}


def test_calls_are_summed_with_what_they_tell_in_detail() -> None:
    with counted() as spent:
        for details in ({}, {"prompt_tokens_details": {"cached_tokens": 4}}, {"completion_tokens_details": None}):
            call = spending.begin()
            assert call is spent
            call.report(ONE | details)
    assert spent.sum == Usage(prompt_tokens=30, completion_tokens=9, cached_tokens=4)


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": 10}, {"prompt_tokens": "10", "completion_tokens": 3}, {**ONE, "prompt_tokens": -1}],
)
def test_one_call_that_reports_nothing_sensible_makes_the_sum_unknown(usage: Any) -> None:
    with counted() as spent:
        for reported in (ONE, usage):
            call = spending.begin()
            assert call
            call.report(reported)
    assert spent.sum is None


def test_outside_a_run_nothing_is_counted() -> None:
    assert spending.begin() is None


@pytest.mark.usefixtures("no_pauses")
async def test_a_call_that_broke_off_makes_the_cost_of_an_answered_run_unknown(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    script = Script(plan=plan("parallel", "researcher", "writer"))
    with anyio.fail_after(10):
        fake.reply = script
        whole = await finished(fleet_over(endpoint), turn(), Screen())
        script.says["researcher"] = says("Tides", " are", drop_after=1)
        broken = await finished(fleet_over(endpoint), turn(), Screen())
    assert whole.usage and whole.usage.completion_tokens > 0
    assert broken.text and broken.usage is None


async def test_instructions_of_the_caller_stand_behind_the_agents_own_and_are_bounded(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    systems: list[str] = []

    def reply(body: Body) -> Any:
        systems.append(body["messages"][0]["content"])
        return says("Hello.")

    fake.reply = reply
    fleet = fleet_over(endpoint)
    with anyio.fail_after(10):
        await finished(fleet, turn("hi", mode="fast", instructions=f"Begin{'x' * 100_000}end"), Screen())
    own = fleet.roster[fleet.roster.bounds.fast_agent].instructions
    assert systems[0].startswith(f"{own}\nBegin") and systems[0].endswith("end")
    assert len(systems[0]) < len(own) + fleet.roster.bounds.handover_characters + 20

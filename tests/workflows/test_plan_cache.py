"""Plans that are kept for a while: for whom, for how long, and which are not."""

from typing import Literal

import anyio
import pytest

from agentic_fleet import context
from agentic_fleet.conversations import Message
from agentic_fleet.testing import ScriptedModel
from agentic_fleet.turns import Ask
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from tests.workflows.team import TASK, Script, bounded, decisions_over, plan, says


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def said_before(*texts: str) -> list[Message]:
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    return [
        Message(id=str(at), conversation_id="c1", role=roles[at % 2], content=text, created_at=at)
        for at, text in enumerate(texts)
    ]


async def test_the_model_plans_with_the_conversation_in_mind(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    history = said_before("Tides?", "They rise. " * 900)
    with anyio.fail_after(10):
        await decisions_over(endpoint).plan(Ask(message="Make a poem of that."), history)
    sent = fake.calls[0].body["messages"][-1]["content"]
    assert sent.startswith("Context: User: Tides?\nTeam: They rise. They rise.")
    assert sent.endswith("\nTask: Make a poem of that.")
    assert len(sent) < 600 * 4 + 100


async def test_an_equal_question_of_the_same_caller_gets_the_same_plan_without_a_call(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(plan=plan("sequential", "researcher", "writer"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        first = await decisions.plan(Ask(message=TASK))
        again = await decisions.plan(Ask(message=TASK))
        alone = await decisions.plan(Ask(message=TASK, mode="delegated"))
    assert (first.cached, again.cached, len(fake.calls)) == (False, True, 1)
    assert (again.agents, again.mode, again.decided_by) == (first.agents, first.mode, "model")
    assert (alone.mode, alone.agents, alone.cached) == ("delegated", ("researcher",), True)


async def test_another_caller_or_conversation_gets_a_plan_of_its_own(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        await decisions.plan(Ask(message=TASK))
        with context.bind(caller="eve"):
            assert not (await decisions.plan(Ask(message=TASK))).cached
            assert not (await decisions.plan(Ask(message=TASK), said_before("Hi", "Hello!"))).cached
            assert not (await decisions.plan(Ask(message=f"{TASK} "))).cached
            assert (await decisions.plan(Ask(message=TASK))).cached
    assert len(fake.calls) == 4


async def test_a_plan_is_kept_for_its_time_only(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    configure_dspy()
    clock = Clock()
    decisions = Decisions(bounded(plan_cache_ttl=300), lm=build_lm(endpoint), clock=clock)
    kept = []
    with anyio.fail_after(10):
        for later in (0, 299, 1, 299):
            clock.now += later
            kept.append((await decisions.plan(Ask(message=TASK))).cached)
    assert (kept, len(fake.calls)) == ([False, True, False, True], 2)


@pytest.mark.parametrize(("size", "ttl", "calls"), [(2, 300, 4), (3, 300, 3), (0, 300, 5), (3, 0, 5)])
async def test_the_plan_that_was_not_used_for_longest_makes_room(
    fake: ScriptedModel, endpoint: Endpoint, size: int, ttl: float, calls: int
) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"))
    decisions = decisions_over(endpoint, plan_cache_size=size, plan_cache_ttl=ttl)
    with anyio.fail_after(10):
        for poem in (1, 2, 1, 3, 2):
            await decisions.plan(Ask(message=f"Write poem number {poem} of our series"))
    assert len(fake.calls) == calls
    assert len(decisions.plans) <= size


async def test_a_plan_made_in_an_emergency_is_not_kept(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("Well.")
    decisions = decisions_over(endpoint)
    with anyio.fail_after(10):
        assert (await decisions.plan(Ask(message=TASK))).decided_by == "fallback"
        fake.reply = Script(plan=plan("delegated", "coder"))
        made = await decisions.plan(Ask(message=TASK))
    assert (made.agents, made.decided_by, made.cached) == (("coder",), "model", False)

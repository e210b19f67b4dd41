"""What the models' answers cost is told once, by the event that ends the part or the decision."""

from typing import Any

import anyio
import pytest

from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.usage import Usage
from tests.workflows.team import (
    Notebook,
    Screen,
    Script,
    answered,
    decision,
    finished,
    fleet_over,
    paused,
    paying_fleet,
    plan,
    resumed,
    says,
    turn,
)

_COMPLETE = StreamEventType.AGENT_COMPLETE


def told(events: list[StreamEvent]) -> list[tuple[str, int, int, int]]:
    """Who (an agent or a phase), calls, prompt and completion tokens."""
    return [
        (
            event.agent_id or event.kind or "",
            usage["calls"],
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )
        for event in events
        if (usage := (event.data or {}).get("usage"))
    ]


class Priced(Script):
    """Each agent's answers and each decision have a price of their own."""

    def __call__(self, body: Body) -> Reply:
        kind = decision(body)
        reply = super().__call__(body)
        usage = {"plan": (100, 1), "assessment": (1000, 2)}.get(kind or "", (10, 3))
        return Reply(tokens=reply.tokens, tool_calls=reply.tool_calls, status=reply.status, usage=usage)


async def test_a_run_tells_what_each_part_and_each_decision_cost(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Priced(plan=plan("sequential", "researcher", "writer"))
    screen = Screen()
    with anyio.fail_after(10):
        await finished(fleet_over(endpoint), turn(), screen)
    assert told(screen.events) == [
        ("analysis", 1, 100, 1),
        ("researcher", 1, 10, 3),
        ("writer", 1, 10, 3),
        ("progress", 1, 1000, 2),
    ]
    assert (screen.of(_COMPLETE)[0].data or {})["usage"]["models"] == ["Model One"]


@pytest.mark.parametrize("mode", ["parallel", "handoff", "discussion"])
async def test_every_call_of_every_mode_is_told_exactly_once(
    fake: ScriptedModel, endpoint: Endpoint, mode: str
) -> None:
    fake.reply = Priced(plan=plan(mode, "researcher", "writer"))
    screen = Screen()
    with anyio.fail_after(10):
        await finished(fleet_over(endpoint), turn(mode=mode), screen)
    assert sum(calls for _, calls, _, _ in told(screen.events)) == len(fake.calls)


async def test_what_was_paid_before_a_pause_is_told_after_it(fake: ScriptedModel, endpoint: Endpoint) -> None:
    def reply(body: Body) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return says("Paid.", usage=(20, 5))
        return Reply(tool_calls=[("pay", '{"amount": 7}')], usage=(10, 3))

    fake.reply = reply
    screen, first = Screen(), turn(mode="fast", memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            assert told(screen.events) == []
            await finished(fleet, answered(first, pause, True), screen)
    assert told(screen.events) == [("researcher", 2, 30, 8)]
    assert len(fake.calls) == 2


async def test_what_was_told_is_not_told_again_when_readers_begin_anew(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Priced(plan=plan("delegated", "writer"))
    notebook, screen = Notebook(), Screen()
    with anyio.fail_after(10):
        await finished(fleet_over(endpoint), turn(memory=notebook), screen)
        before = len(screen.events)
        await finished(fleet_over(endpoint), resumed(turn(memory=notebook), at=notebook.before("execution")), screen)
    assert told(screen.events[:before]) == [("analysis", 1, 100, 1), ("writer", 1, 10, 3), ("progress", 1, 1000, 2)]
    assert told(screen.events[before:]) == []
    assert len(fake.calls) == 3


async def test_an_agent_that_fails_tells_what_it_had_cost(fake: ScriptedModel, endpoint: Endpoint) -> None:
    def reply(body: Body) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return Reply(status=400)
        return Reply(tool_calls=[("pay", '{"amount": 7}')], usage=(10, 3))

    fake.reply = reply
    screen, first = Screen(), turn(mode="fast", memory=Notebook())
    with anyio.fail_after(10):
        async with paying_fleet(endpoint) as fleet:
            pause = await paused(fleet, first, screen)
            with pytest.raises(Exception, match="got no answer"):
                await fleet.run(answered(first, pause, True), screen)
    assert told(screen.events) == [("researcher", 1, 10, 3)]


@pytest.mark.parametrize("counts", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": "7"}])
def test_a_model_that_reports_nothing_is_still_counted(counts: Any) -> None:
    usage = Usage(kept_counts=True)
    assert usage.data == {}
    usage.add("m", counts)
    usage.add("n", {"prompt_tokens": 2, "completion_tokens": 1})
    assert usage.data == {"usage": {"models": ["m", "n"], "calls": 2, "prompt_tokens": 2, "completion_tokens": 1}}

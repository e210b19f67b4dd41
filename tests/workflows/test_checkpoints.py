"""Going on after a stop, over real HTTP: from every checkpoint, nothing done twice; and what is not trusted."""

import json
import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import CheckpointUnreadable, ModelFailed, StoreFailed
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.turns import Checkpoint, Turn
from agentic_fleet.workflows.agents import Roster, load_roster
from agentic_fleet.workflows.checkpoints import FORMAT
from agentic_fleet.workflows.endpoint import Endpoint
from tests.faults.table import row
from tests.workflows.team import (
    PHASES,
    Notebook,
    Screen,
    Script,
    decision,
    finished,
    fleet_over,
    plan,
    resumed,
    says,
    speaker,
    turn,
)

_TYPE = StreamEventType
POOR = {"verdict": "refine", "score": 3, "missing": "The poem."}
PARALLEL = plan("parallel", "researcher", "analyst")
SEQUENCE = plan("sequential", "researcher", "analyst", "writer")


def who(body: Body) -> str:
    return decision(body) or speaker(body)


async def test_a_run_leaves_a_checkpoint_before_each_phase_and_none_after_the_last(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    memory = Notebook()
    fake.reply = Script(plan=plan("delegated", "writer"))
    with anyio.fail_after(10):
        await finished(fleet_over(endpoint), turn(memory=memory), Screen())
    assert memory.phases == PHASES
    assert all(checkpoint.at > 1_600_000_000_000 for checkpoint in memory.kept.values())


@row(33)
@pytest.mark.parametrize(
    ("planned", "held_at", "reached", "still_to_do"),
    [
        (SEQUENCE, "plan", "analysis", ["plan", "researcher", "analyst", "writer", "assessment"]),
        (SEQUENCE, "analyst", "execution", ["analyst", "writer", "assessment"]),
        (SEQUENCE, "writer", "execution", ["writer", "assessment"]),
        (PARALLEL, "analyst", "execution", ["analyst", "writer", "assessment"]),
        (PARALLEL, "writer", "execution", ["writer", "assessment"]),
        (SEQUENCE, "assessment", "progress", ["assessment"]),
    ],
)
async def test_a_stopped_run_goes_on_from_every_checkpoint_and_does_nothing_twice(
    fake: ScriptedModel, endpoint: Endpoint, planned: Any, held_at: str, reached: str, still_to_do: list[str]
) -> None:
    fleet = fleet_over(endpoint)
    script = Script(plan=planned, says={"writer": says("O", " moon", "!")})
    with anyio.fail_after(20):
        began = await stopped_at(held_at, fake, script, turn(memory=Notebook()), fleet)
        assert isinstance(began.memory, Notebook)
        assert began.memory.phases[-1] == reached
        fake.reply = script
        for checkpoint in began.memory.kept.values():
            calls, screen = len(fake.calls), Screen()
            again = replace(began, memory=deepcopy(began.memory))
            result = await finished(fleet, resumed(again, at=checkpoint), screen)
            assert [who(call.body) for call in fake.calls[calls:]] == still_to_do
            assert (result.text, result.quality_score) == ("O moon!", 9)
            assert screen.text() == ("" if checkpoint.phase == "progress" else "O moon!")
            assert_whole(screen, since=checkpoint.phase)
            assert isinstance(again.memory, Notebook)
            new = again.memory.phases[len(began.memory.phases) :]
            assert new == PHASES[PHASES.index(checkpoint.phase) + 1 :]


async def test_a_run_stopped_in_its_second_round_goes_on_there(fake: ScriptedModel, endpoint: Endpoint) -> None:
    rounds = iter([says("First."), says("Sec", "ond", hold_after=(1, anyio.Event())), says("Second.")])
    scores = iter([POOR, {"verdict": "complete", "score": 8, "missing": ""}])

    def reply(body: Body) -> Reply:
        match decision(body):
            case "plan":
                return says(json.dumps(plan("delegated", "writer")))
            case "assessment":
                return says(json.dumps(next(scores)))
        return next(rounds)

    fake.reply = reply
    began, fleet, screen = turn(memory=Notebook()), fleet_over(endpoint), Screen()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.run, began, screen)
            await screen.wait_for(lambda: screen.text() == "First.Sec")
            tasks.cancel_scope.cancel()
        assert isinstance(began.memory, Notebook)
        assert began.memory.phases == ["analysis", "routing", "execution", "progress", "quality", "execution"]
        calls, again = len(fake.calls), Screen()
        result = await finished(fleet, resumed(began, at=began.memory.before("execution")), again)
    assert (result.text, result.quality_score) == ("Second.", 8)
    assert again.text() == "Second."
    assert len(fake.calls) - calls == 2
    assert again.thought("execution")["round"] == 2


@row(35)
@pytest.mark.parametrize(
    ("spoil", "says_what"),
    [
        (lambda body: body[: len(body) // 2], "damaged"),
        (lambda body: b"", "damaged"),
        (lambda body: b"[1]", "damaged"),
        (lambda body: body.replace(b'"Routed"', b'"Popen"'), "damaged"),
        (lambda body: body.replace(b'"round":1', b'"round":"1"'), "damaged"),
        (lambda body: body.replace(FORMAT.encode(), b"fleet/1"), "another version"),
        (lambda body: b'{"anything": "else"}', "another version"),
    ],
)
async def test_a_checkpoint_that_will_not_do_is_refused_with_a_clear_word(
    fake: ScriptedModel, endpoint: Endpoint, spoil: Callable[[bytes], bytes], says_what: str
) -> None:
    memory, fleet = Notebook(), fleet_over(endpoint)
    with anyio.fail_after(10):
        await finished(fleet, turn(mode="delegated", memory=memory), Screen())
        good = memory.before("execution")
        spoilt = replace(good, body=spoil(good.body))
        assert spoilt.body != good.body
        memory.kept[good.checkpoint_id] = spoilt
        calls = len(fake.calls)
        with pytest.raises(CheckpointUnreadable, match=says_what):
            await fleet.run(resumed(turn(memory=memory), at=spoilt), Screen())
    assert len(fake.calls) == calls


async def test_a_team_that_has_changed_since_is_told_apart_from_a_fault(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    memory = Notebook()
    fake.reply = Script(plan=plan("delegated", "coder"))
    roster = load_roster()
    smaller = Roster({name: member for name, member in roster.items() if name != "coder"}, roster.bounds)
    with anyio.fail_after(10):
        await finished(fleet_over(endpoint), turn(memory=memory), Screen())
        with pytest.raises(CheckpointUnreadable, match="The team has changed"):
            again = resumed(turn(memory=memory), at=memory.before("execution"))
            await fleet_over(endpoint, roster=smaller).run(again, Screen())


class FullNotebook(Notebook):
    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        raise StoreFailed("The disk is full.")


async def test_a_checkpoint_that_cannot_be_saved_is_told_once_and_the_run_goes_on(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Screen()
    with caplog.at_level(logging.ERROR, "agentic_fleet"), anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn("Hello!", memory=FullNotebook()), screen)
    assert result.text == "Re: Hello!"
    told = [e.message for e in screen.of(_TYPE.ORCHESTRATOR_MESSAGE) if e.kind == "progress"]
    assert told == [
        "The team is at work.",
        "A checkpoint could not be saved: if this run is stopped, it goes on from an earlier one.",
    ]
    assert [r.getMessage() for r in caplog.records if r.name.startswith("agentic_fleet")] == [
        "a checkpoint was not saved: StoreFailed"
    ]


async def stopped_at(held: str, fake: ScriptedModel, script: Script, began: Turn, fleet: Any) -> Turn:
    """Run until all but the decision or the agent `held` has ended, and that has said a word; then cancel."""
    screen = Screen()

    def others_ended() -> bool:
        started = {e.agent_id for e in screen.of(_TYPE.AGENT_START)} - {held}
        return started == {e.agent_id for e in screen.of(_TYPE.AGENT_COMPLETE)}

    fake.reply = lambda body: says("{", "}", hold_after=(1, anyio.Event())) if who(body) == held else script(body)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fleet.run, began, screen)
        await fake.wait_for(
            lambda: [who(call.body) for call in fake.calls if call.state == "open" and call.tokens_sent] == [held]
        )
        await screen.wait_for(others_ended)
        tasks.cancel_scope.cancel()
    await fake.settled()
    return began


def assert_whole(screen: Screen, *, since: str) -> None:
    """Readers who begin anew see all from that phase on: each thought once, each agent from its start to its end."""
    thoughts = [e.kind for e in screen.of(_TYPE.ORCHESTRATOR_THOUGHT)]
    assert thoughts == PHASES[PHASES.index(since) :]
    for agent in {e.agent_id for e in screen.events} - {None}:
        told = [e.type for e in screen.events if e.agent_id == agent]
        assert told[0] == "agent.start"
        assert told[-2:] == ["agent.output", "agent.complete"]
        assert told.count(_TYPE.AGENT_START) == told.count(_TYPE.AGENT_COMPLETE)


@pytest.mark.parametrize(
    "nothing", [says(), says(" \n"), says(finish_reason="content_filter"), Reply(reasoning=["Hm"])]
)
async def test_a_run_that_failed_of_an_empty_answer_asks_anew_when_it_goes_on(
    fake: ScriptedModel, endpoint: Endpoint, nothing: Reply
) -> None:
    replies = iter([nothing, says("Here I am.")])
    fake.reply = lambda body: next(replies)
    first, fleet = turn(mode="fast", memory=Notebook()), fleet_over(endpoint)
    assert isinstance(first.memory, Notebook)
    with anyio.fail_after(10):
        with pytest.raises(ModelFailed, match="said nothing"):
            await fleet.run(first, Screen())
        result = await finished(fleet, resumed(first, at=first.memory.before("execution")), Screen())
    assert result.text == "Here I am."

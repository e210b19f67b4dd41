"""Agents at work, over real HTTP: what each mode shows, in which order, and what it makes of failures."""

import anyio
import msgspec
import pytest

from agentic_fleet.conversations import Message
from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.turns import Mode
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.endpoint import Endpoint
from tests.workflows.team import Screen, Script, bounded, finished, fleet_over, plan, says, turn, with_history

_TYPE = StreamEventType


async def test_delegated_streams_one_agents_tokens_as_the_answer(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"), says={"writer": says("Ebb", " and", " flow.")})
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), screen)
    assert [e.delta for e in screen.of(_TYPE.RESPONSE_DELTA)] == ["Ebb", " and", " flow."]
    assert (result.text, result.agent_id) == ("Ebb and flow.", "writer")
    assert screen.story() == [
        "orchestrator.message progress",
        "orchestrator.thought analysis",
        "orchestrator.thought routing",
        "agent.start writer",
        "response.delta writer",
        "agent.output writer",
        "agent.complete writer",
        "orchestrator.thought execution",
        "orchestrator.thought progress",
        "orchestrator.thought quality",
    ]
    assert screen.of(_TYPE.AGENT_START)[0].message == "the part of writer"
    assert screen.of(_TYPE.AGENT_OUTPUT)[0].message == "Ebb and flow."


async def test_in_sequence_each_agent_sees_the_work_so_far_and_the_last_one_answers(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    said = {"researcher": says("The moon", " pulls."), "writer": says("O moon", "!")}
    fake.reply = Script(plan=plan("sequential", "researcher", "writer"), says=said)
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), screen)
    assert (result.text, result.agent_id) == ("O moon!", "writer")
    assert screen.text() == "O moon!"
    assert screen.text(_TYPE.AGENT_DELTA, "researcher") == "The moon pulls."
    assert screen.story()[3:11] == [
        "agent.start researcher",
        "agent.delta researcher",
        "agent.output researcher",
        "agent.complete researcher",
        "agent.start writer",
        "response.delta writer",
        "agent.output writer",
        "agent.complete writer",
    ]
    second = fake.calls[2].body["messages"][-1]["content"]
    assert turn().ask.message in second
    assert "Your part: the part of writer" in second
    assert "## researcher\nThe moon pulls." in second


async def test_in_parallel_all_work_at_once_and_one_synthesis_answers(fake: ScriptedModel, endpoint: Endpoint) -> None:
    go = anyio.Event()
    said = {name: says(f"{name} reports", ".", hold_after=(1, go)) for name in ("researcher", "analyst", "coder")}
    said["writer"] = says("All", " told.")
    fake.reply = Script(plan=plan("parallel", *list(said)[:3]), says=said)
    screen = Screen()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:

            async def let_go() -> None:
                await fake.wait_for(lambda: fake.open == 3)  # none of them waits for another
                go.set()

            tasks.start_soon(let_go)
            result = await finished(fleet_over(endpoint), turn(), screen)
    assert (result.text, screen.text(), result.agent_id) == ("All told.", "All told.", "writer")
    for name in ("researcher", "analyst", "coder"):
        assert screen.text(_TYPE.AGENT_DELTA, name) == f"{name} reports."
        assert f"## {name}\n{name} reports." in fake.calls[4].body["messages"][-1]["content"]
    assert {e.agent_id for e in screen.of(_TYPE.AGENT_COMPLETE)[:3]} == {"researcher", "analyst", "coder"}
    assert screen.thought("execution")["agents"] == ["researcher", "analyst", "coder"]


async def test_one_failing_agent_of_several_does_not_fail_the_others(fake: ScriptedModel, endpoint: Endpoint) -> None:
    said = {"researcher": says("Facts."), "analyst": Reply(status=400), "writer": says("Told.")}
    fake.reply = Script(plan=plan("parallel", "researcher", "analyst"), says=said)
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), screen)
    assert result.text == "Told."
    (failed,) = [e for e in screen.of(_TYPE.AGENT_COMPLETE) if e.error]
    assert failed.agent_id == "analyst"
    synthesis = fake.calls[-2].body["messages"][-1]["content"]
    assert "Without a report, say so if it matters: analyst." in synthesis
    assert screen.thought("execution")["failed"] == {"analyst": failed.error}


async def test_when_all_agents_fail_the_first_ones_failure_is_the_runs(fake: ScriptedModel, endpoint: Endpoint) -> None:
    said = {"researcher": Reply(status=400), "analyst": says(" ")}
    fake.reply = Script(plan=plan("parallel", "analyst", "researcher"), says=said)
    screen = Screen()
    with (
        anyio.fail_after(10),
        pytest.raises(ModelFailed, match=r"^The agent analyst got no answer\. The model said nothing\.$"),
    ):
        await fleet_over(endpoint).run(turn(), screen)
    assert all(e.error for e in screen.of(_TYPE.AGENT_COMPLETE))
    assert not screen.of(_TYPE.RESPONSE_DELTA)


@pytest.mark.parametrize("mode", ["fast", "delegated", "sequential"])
async def test_a_model_that_refuses_fails_the_run_with_its_own_error(
    fake: ScriptedModel, endpoint: Endpoint, mode: Mode
) -> None:
    fake.reply = Script(
        plan=plan(mode, "researcher", "writer"), says={"researcher": Reply(status=400), "writer": Reply(status=400)}
    )
    screen = Screen()
    with anyio.fail_after(10), pytest.raises(ModelFailed) as failed:
        await fleet_over(endpoint).run(turn(mode=mode), screen)
    assert screen.events[-1].type == "agent.complete"
    assert screen.events[-1].error == str(failed.value)


async def test_an_agent_that_takes_too_long_is_named(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Script(plan=plan("delegated", "writer"), says={"writer": says("One", hold_after=(0, anyio.Event()))})
    roster = bounded(agent_timeout=0.2)
    with anyio.fail_after(10), pytest.raises(TimedOut, match=r"^The agent writer took longer than 0\.2 s\.$"):
        await fleet_over(endpoint, roster=roster).run(turn(), Screen())
    await fake.settled()
    assert fake.hangups == 1


async def test_an_agent_that_hangs_in_parallel_counts_as_one_without_a_report(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    said = {"researcher": says("Facts."), "analyst": says("x", hold_after=(0, anyio.Event())), "writer": says("Told.")}
    fake.reply = Script(plan=plan("parallel", "researcher", "analyst"), says=said)
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint, roster=bounded(agent_timeout=2)), turn(), screen)
    assert result.text == "Told."
    assert screen.thought("execution")["failed"] == {"analyst": "The agent analyst took longer than 2 s."}


async def test_an_answer_is_stopped_at_its_bound_and_its_connection_closed(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    endless = says(*["0123456789" * 3] * 40, hold_after=(30, anyio.Event()))
    fake.reply = Script(plan=plan("delegated", "writer"), says={"writer": endless})
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(
            fleet_over(endpoint, roster=bounded(max_answer_characters=100, max_refinements=0)), turn(), screen
        )
    assert result.text == screen.text() == ("0123456789" * 10)
    assert screen.thought("progress") == {
        "verdict": "continue",
        "action": "continue",
        "decided_by": "rules",
        "round": 1,
    }
    await fake.settled()
    assert fake.hangups == 1


async def test_reasoning_is_shown_apart_from_the_answer(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("Yes.", reasoning=["Let me", " see"])
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(mode="fast"), screen)
    assert result.text == "Yes."
    assert [e.reasoning for e in screen.of(_TYPE.REASONING_DELTA)] == ["Let me", " see"]
    assert [e.reasoning for e in screen.of(_TYPE.REASONING_COMPLETED)] == ["Let me see"]
    assert screen.story()[4:7] == ["reasoning.delta researcher", "reasoning.completed researcher"] + [
        "response.delta researcher"
    ]


async def test_the_newest_of_the_conversation_is_passed_on_within_its_bound(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    history = [
        Message(id=str(at), conversation_id="c1", role="assistant" if at % 2 else "user", content=text, created_at=at)
        for at, text in enumerate(["too old", "also", "u" * 60, "a" * 60])
    ]
    with anyio.fail_after(10):
        fleet = fleet_over(endpoint, roster=bounded(history_messages=2))
        await fleet.run(with_history(turn(mode="fast"), *history), Screen())
    assert [(m["role"], m["content"]) for m in fake.calls[0].body["messages"][1:]] == [
        ("user", "u" * 60),
        ("assistant", "a" * 60),
        ("user", turn().ask.message),
    ]


@pytest.mark.parametrize(
    ("effort", "sent"), [("minimal", "low"), ("medium", "medium"), ("maximal", "high"), (None, None)]
)
async def test_the_reasoning_effort_reaches_the_model_in_its_own_words(
    fake: ScriptedModel, endpoint: Endpoint, effort: str | None, sent: str | None
) -> None:
    with anyio.fail_after(10):
        await fleet_over(endpoint).run(turn(mode="fast", reasoning_effort=effort), Screen())
    assert fake.calls[0].body.get("reasoning_effort") == sent


async def test_the_asks_effort_overrides_the_members_own(fake: ScriptedModel, endpoint: Endpoint) -> None:
    roster = bounded()
    members = {name: msgspec.structs.replace(member, reasoning_effort="none") for name, member in roster.items()}
    fleet = fleet_over(endpoint, roster=Roster(members, roster.bounds))
    with anyio.fail_after(10):
        await fleet.run(turn(mode="fast", reasoning_effort="maximal"), Screen())
        await fleet.run(turn(mode="fast"), Screen())
    assert [call.body.get("reasoning_effort") for call in fake.calls] == ["high", "none"]


async def test_the_synthesis_is_asked_the_same_whoever_reports_first(fake: ScriptedModel, endpoint: Endpoint) -> None:
    asked: list[str] = []
    for last in ("researcher", "analyst"):
        go = anyio.Event()
        screen = Screen()
        said = {name: says(f"{name}.", hold_before=go if name == last else None) for name in ("researcher", "analyst")}
        fake.reply = Script(plan=plan("parallel", "researcher", "analyst"), says=said)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fleet_over(endpoint).run, turn(), screen)
                await screen.wait_for(lambda screen=screen: bool(screen.of(_TYPE.AGENT_COMPLETE)))  # type: ignore[misc]  # its default
                go.set()
        asked.append(fake.calls[-2].body["messages"][-1]["content"])
    assert asked[0] == asked[1]


async def test_what_a_failing_emit_raises_comes_out_even_from_parallel_agents(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Script(plan=plan("parallel", "researcher", "analyst"))
    screen = Screen()

    async def emit(event: object) -> None:
        await screen(event)  # type: ignore[arg-type]  # an event it is
        if screen.of(_TYPE.AGENT_DELTA):
            raise LookupError("disk full")

    with anyio.fail_after(10), pytest.raises(LookupError, match="disk full"):
        await fleet_over(endpoint).run(turn(), emit)
    await fake.settled()

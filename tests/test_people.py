"""People in the loop, and going on after accidents, as a deployment sees them: real processes, a real HTTP model."""

import json
import random
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.testing import (
    Body,
    Call,
    Event,
    Events,
    Fleet,
    Refused,
    Reply,
    Request,
    ScriptedModel,
    answer,
    collect,
    running_fleet,
    watch,
)
from tests.faults.table import row
from tests.team import CHECKER, NOTE, helper_team


@pytest.fixture
def team(tmp_path: Path) -> dict[str, str]:
    """Settings of a service whose helper may ask the user, and may take notes when a human approves."""
    (tmp_path / "team.toml").write_text(helper_team("ask_user", "note", more=CHECKER + NOTE))
    return {"FLEET_ROSTER": str(tmp_path / "team.toml"), "NOTES": str(tmp_path / "notes.txt")}


def calls_tool(name: str, **arguments: str) -> Any:
    """A model that calls the tool first, and then says what came of it."""

    def reply(body: Body) -> Reply:
        if "response_format" in body:
            return answer(body)
        results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        if not results:
            return Reply(tool_calls=[(name, json.dumps(arguments))])
        return Reply(tokens=["I ", "learnt: ", results[-1]])

    return reply


async def waiting(fleet: Fleet, run_id: str, after: int | Event = 0) -> tuple[Request, Event]:
    """The run's one request, once it waits, and the event that asks it."""
    async with aclosing(watch(fleet, run_id, after=after)) as events:
        asked = await anext(event async for event in events if event.kind == "request")
    run = await fleet.run(run_id)
    assert run.status == "waiting"
    (request,) = run.pending_requests
    return request, asked


async def read(fleet: Fleet, run_id: str, after: int | str = 0) -> Events:
    """The run's whole log, once it has told `done` after that place."""
    async for _ in watch(fleet, run_id, after=after):
        pass
    return await fleet.log(run_id)


@row(33)
async def test_a_question_survives_kill_9_and_its_answer_goes_on_in_the_same_log(
    tmp_path: Path, fake: ScriptedModel, team: dict[str, str]
) -> None:
    fake.reply = calls_tool("ask_user", question="Which colour?")
    async with running_fleet(fake, home=tmp_path, environ=team) as fleet:
        run = await fleet.start("Paint the house", mode="fast")
        request, _ = await waiting(fleet, run.run_id)
        assert request.request["question"] == "Which colour?"
        await fleet.kill()
    calls = len(fake.calls)
    async with running_fleet(fake, home=tmp_path, environ=team) as fleet:
        suspended = await fleet.run(run.run_id)
        assert (suspended.status, suspended.pending_requests) == ("suspended", (request,))
        await fleet.answer(run.run_id, "blue")
        log = await read(fleet, run.run_id, after=suspended.last_event_id or 0)
        assert log.types[-2:] == ["response.completed", "done"]
        assert log.text == "I learnt: blue"
        assert log.types.count("suspended") == 1
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        with pytest.raises(Refused, match="409"):
            await fleet.answer(run.run_id, "blue", request.request_id)
    assert len(fake.calls) == calls + 1  # what was asked before the pause was not asked again


@pytest.mark.parametrize(("approved", "notes"), [(True, "milk\n"), (False, "")])
async def test_a_tool_that_needs_approval_runs_once_and_only_when_approved(
    tmp_path: Path, fake: ScriptedModel, team: dict[str, str], approved: bool, notes: str
) -> None:
    fake.reply = calls_tool("note", text="milk")
    (tmp_path / "notes.txt").touch()
    async with running_fleet(fake, home=tmp_path, environ=team) as fleet:
        run = await fleet.start("Note milk", mode="fast")
        request, _ = await waiting(fleet, run.run_id)
        assert request.request["arguments"] == {"text": "milk"}
        assert (tmp_path / "notes.txt").read_text() == ""
        await fleet.answer(run.run_id, {"approved": approved})
        log = await read(fleet, run.run_id)
        assert log.types[-2:] == ["response.completed", "done"]
        assert log.types.count("tool.call") == log.types.count("tool.result") == int(approved)
    assert (tmp_path / "notes.txt").read_text() == notes


async def test_a_plan_can_be_changed_in_words_and_then_approved(tmp_path: Path, fake: ScriptedModel) -> None:
    async with running_fleet(fake, home=tmp_path) as fleet:
        task = "Compare heat pumps and gas heating for an old house, and write it up"
        run = await fleet.start(task, require_plan_approval=True)
        _, asked = await waiting(fleet, run.run_id)
        await fleet.answer(run.run_id, "Let the reviewer do it instead")
        await waiting(fleet, run.run_id, after=asked)
        await fleet.answer(run.run_id, {"approved": True})
        log = await read(fleet, run.run_id)
        assert log.types[-2:] == ["response.completed", "done"]
        kinds = [event.kind for event in log]
        assert (kinds.count("request"), kinds.count("response"), kinds.count("routing")) == (2, 2, 1)


@row(33)
async def test_an_interrupted_run_goes_on_and_repeats_nothing_that_was_paid_for(
    tmp_path: Path, fake: ScriptedModel
) -> None:
    held = anyio.Event()
    words = "Compare heat pumps and gas heating in detail"

    def reply(body: Body) -> Reply:
        if "response_format" in body:
            return answer(body)
        done = sum(call.state == "finished" for call in agents())
        return Reply(tokens=["part ", str(done)], hold_after=(1, held) if done == 1 and not held.is_set() else None)

    def agents() -> list[Call]:
        return [call for call in fake.calls if "response_format" not in call.body]

    fake.reply = reply
    async with running_fleet(fake, home=tmp_path) as fleet:
        run = await fleet.start(words, mode="sequential")
        await fake.wait_for(lambda: [call.state for call in agents()] == ["finished", "open"])
        await fake.wait_for(lambda: agents()[1].tokens_sent == 1)
        await fleet.kill()
    await fake.settled()
    paid = [call for call in fake.calls if call.state == "finished"]
    held.set()
    before = len(fake.calls)
    async with running_fleet(fake, home=tmp_path) as fleet:
        assert (await fleet.run(run.run_id)).status == "interrupted"
        phases = [kept["phase"] for kept in await fleet.get(f"/api/v1/runs/{run.run_id}/checkpoints")]
        assert phases == ["analysis", "routing", "execution"]
        resumed = await fleet.resume(run.run_id)
        assert resumed.run_id == run.run_id
        log = await read(fleet, run.run_id, after=resumed.last_event_id or 0)
        assert log.types[-2:] == ["response.completed", "done"]
        with pytest.raises(Refused, match="409"):
            await fleet.resume(run.run_id)
    asked_again = [call.body for call in fake.calls[before:] if call.body in [old.body for old in paid]]
    assert asked_again == []


async def test_two_conversations_at_once_never_mix_fifty_times(tmp_path: Path, fake: ScriptedModel) -> None:
    async with running_fleet(fake, home=tmp_path, log_level="ERROR") as fleet:
        conversations = [(await fleet.post("/api/v1/conversations", {}))["id"] for _ in range(2)]

        async def chat(mine: str, other: str) -> None:
            for number in range(50):
                conversation = conversations[int(mine[-1])]
                log = await collect(fleet, f"Repeat {mine} {number}", conversation=conversation, mode="fast")
                assert log.types[-2:] == ["response.completed", "done"]
                assert mine in log.text
                assert other not in str(log)

        tag = f"marker-{random.randrange(10**9)}"
        with anyio.fail_after(90):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(chat, f"{tag}-0", f"{tag}-1")
                tasks.start_soon(chat, f"{tag}-1", f"{tag}-0")
    for call in fake.calls:
        assert f"{tag}-0" not in str(call.body) or f"{tag}-1" not in str(call.body)


async def test_a_model_that_hangs_ends_in_an_error_that_names_the_limit(tmp_path: Path, fake: ScriptedModel) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["a "] * 3, hold_after=(1, held))
    async with running_fleet(fake, home=tmp_path, model_timeout=0.3) as fleet:
        log = await collect(fleet, "Go", mode="fast")
        assert log.types[-2:] == ["error", "done"]
        assert log[-2].error == "The agent researcher got no answer. The model sent nothing for 0.3 seconds."
    await fake.settled()
    assert fake.hangups == 1


async def test_nonsense_decisions_never_fail_a_run(tmp_path: Path, fake: ScriptedModel) -> None:
    nonsense = iter(["I think the wizard should do it", "{", '{"agent_1": "wizard", "mode": 7}', "[]", "null", ""] * 9)

    def reply(body: Body) -> Reply:
        return Reply(tokens=[next(nonsense)]) if "response_format" in body else answer(body)

    fake.reply = reply
    async with running_fleet(fake, home=tmp_path) as fleet:
        for number in range(6):
            log = await collect(fleet, f"Please write a long and careful comparison of {number} ways to heat a house")
            assert log.types[-2:] == ["response.completed", "done"]
            (routing,) = [event for event in log if event.kind == "routing"]
            assert routing.data and routing.data["decided_by"] == "fallback"

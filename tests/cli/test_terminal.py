"""Questions of a run, answered in the terminal that watches it; and Ctrl-C."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from agentic_fleet.testing import Fleet, Reply, ScriptedModel, running_fleet
from agentic_fleet.testing.fleet import environment
from tests.cli.terminal import CTRL_C, CTRL_D, terminal
from tests.team import CHECKER, NOTE, helper_team
from tests.test_people import calls_tool


@pytest.fixture
async def fleet(tmp_path: Path, fake: ScriptedModel) -> AsyncIterator[Fleet]:
    """Its helper may ask the user, and may take notes when a human approves."""
    (tmp_path / "team.toml").write_text(helper_team("ask_user", "note", more=CHECKER + NOTE))
    environ = {"FLEET_ROSTER": str(tmp_path / "team.toml"), "NOTES": str(tmp_path / "notes.txt")}
    async with running_fleet(fake, home=tmp_path, environ=environ) as running:
        yield running


@pytest.mark.parametrize(("said", "notes"), [("yes", "milk\n"), ("no, buy it", "")])
async def test_a_tool_is_approved_or_refused_at_the_prompt(
    tmp_path: Path, fake: ScriptedModel, fleet: Fleet, said: str, notes: str
) -> None:
    fake.reply = calls_tool("note", text="milk")
    (tmp_path / "notes.txt").touch()
    with terminal("ask", "Note milk", "--mode", "fast", "--url", fleet.url, environ=environment(tmp_path)) as it:
        await it.until("Allow it?")
        it.type(f"{said}\r")
        assert await it.ended() == 0
        assert "answered by helper" in it.shown
        assert "curl" not in it.shown
    assert (tmp_path / "notes.txt").read_text() == notes


async def test_a_question_that_is_answered_elsewhere_takes_its_prompt_along(
    tmp_path: Path, fake: ScriptedModel, fleet: Fleet
) -> None:
    fake.reply = calls_tool("ask_user", question="Which colour?")
    with terminal("ask", "Paint it", "--mode", "fast", "--url", fleet.url, environ=environment(tmp_path)) as it:
        await it.until("Your answer:")
        it.type("re")
        (run,) = await fleet.runs()
        await fleet.answer(run.run_id, "blue")
        assert await it.ended() == 0
        assert "I learnt: blue" in it.shown
        assert it.shown.count("Your answer:") == 1


async def test_who_hangs_up_is_told_how_to_answer_from_elsewhere(
    tmp_path: Path, fake: ScriptedModel, fleet: Fleet
) -> None:
    fake.reply = calls_tool("ask_user", question="Which colour?")
    with terminal("ask", "Paint it", "--mode", "fast", "--url", fleet.url, environ=environment(tmp_path)) as it:
        await it.until("Your answer:")
        it.type(CTRL_D)
        (run,) = await fleet.runs()
        await it.until(f"curl {fleet.url}/api/v1/runs/{run.run_id}/responses")
        await fleet.answer(run.run_id, "blue")
        assert await it.ended() == 0


async def test_ctrl_c_at_a_prompt_cancels_the_run_and_says_so(
    tmp_path: Path, fake: ScriptedModel, fleet: Fleet
) -> None:
    fake.reply = calls_tool("ask_user", question="Which colour?")
    with terminal("ask", "Paint it", "--mode", "fast", "--url", fleet.url, environ=environment(tmp_path)) as it:
        await it.until("Your answer:")
        it.type(CTRL_C)
        assert await it.ended() == 130
        assert "cancelling the run" in it.shown
        assert "cancelled The run was cancelled." in it.shown
    assert [run.status for run in await fleet.runs()] == ["cancelled"]


async def test_a_plan_is_changed_and_approved_while_a_service_of_its_own_shows_how_it_starts(
    tmp_path: Path, fake: ScriptedModel
) -> None:
    environ = environment(tmp_path, {"model": "scripted", "openai_base_url": fake.base_url, "port": 1})
    with terminal("ask", "Compare heat pumps and gas", "--approve-plan", environ=environ) as it:
        await it.until("Is the plan good?")
        it.type("Let the reviewer do it\r")
        await it.until("Is the plan good?", times=2)
        it.type("yes\r")
        assert await it.ended() == 0
    assert "Starting the service" in it.shown
    assert "routing" in it.shown


async def test_the_line_at_the_bottom_says_who_is_at_work(tmp_path: Path, fake: ScriptedModel, fleet: Fleet) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["Done"], hold_before=held)
    with terminal("ask", "Go", "--mode", "fast", "--url", fleet.url, environ=environment(tmp_path)) as it:
        await it.until("execution: helper 0:00:0")
        held.set()
        assert await it.ended() == 0
    assert "Done" in it.shown

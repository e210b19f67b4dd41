"""Tools that block and tools that cling, in a service that must stay quick, cancel at once and leave in time."""

import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from agentic_fleet.testing import Body, Event, Events, Fleet, Reply, Run, ScriptedModel, answer, collect, running_fleet
from agentic_fleet.testing import watch as watch_events
from tests.faults.processes import until
from tests.faults.table import row
from tests.team import helper_team

TOOLS = """
[tools.block]
function = "tests.faults.tools:block"
timeout = 600

[tools.cling]
function = "tests.faults.tools:cling"
timeout = 600
"""


@dataclass(frozen=True)
class Place:
    """A folder with a team and a gate."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        names = {"FLEET_ROSTER": "team.toml", "NOTES": "notes", "GATE": "gate"}
        return {name: str(self.folder / file) for name, file in names.items()}

    @property
    def notes(self) -> list[str]:
        notes = self.folder / "notes"
        return notes.read_text(encoding="utf-8").split() if notes.exists() else []

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    async def noted(self, word: str) -> None:
        await until(lambda: word in self.notes)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "team.toml").write_text(helper_team("block", "cling", more=TOOLS), encoding="utf-8")
    return Place(tmp_path)


def calls_tools(*names: str) -> Callable[[Body], Reply]:
    """A model that calls the tool that it is asked for by name, and says what came of it."""

    def reply(body: Body) -> Reply:
        if "response_format" in body:
            return answer(body)
        results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
        asked = next((name for name in names if name in json.dumps(body["messages"][-1])), None)
        if asked and not results:
            return Reply(tool_calls=[(asked, {})])
        return Reply(tokens=["It ", "said: ", *results])

    return reply


async def told(fleet: Fleet, run: Run, types: Sequence[str]) -> Event:
    """The first event of one of these types."""
    with anyio.fail_after(30):
        async with aclosing(watch_events(fleet, run.run_id)) as events:
            return await anext(event async for event in events if event.type in types)


@row(65)
async def test_while_tools_block_others_work_and_health_and_heartbeats_come(place: Place, fake: ScriptedModel) -> None:
    """That they still block is known by their notes, not by a clock."""
    fake.reply = calls_tools("block")
    async with running_fleet(fake, home=place.folder, environ=place.environ, heartbeat=0.05) as fleet:
        blocked = [await fleet.start("Please block", mode="fast") for _ in range(5)]
        for run in blocked:
            await told(fleet, run, ["tool.call"])
        await until(lambda: place.notes.count("blocking") == 5)
        assert (await fleet.get("/health"))["status"] == "ok"
        assert (await collect(fleet, "Go on", mode="fast")).ending
        async with fleet.http.stream("GET", f"/api/v1/runs/{blocked[0].run_id}/events") as stream:
            beats = 0
            async for line in stream.aiter_lines():
                beats += "heartbeat" in line
                if beats == 3:
                    break
        assert "through" not in place.notes
        place.open_gate()
        for run in blocked:
            assert (await told(fleet, run, ["response.completed"])).message == "It said: blocked"


@row(17, 20)
async def test_a_run_whose_tool_blocks_a_thread_is_cancelled_at_once_and_the_late_result_is_dropped(
    place: Place, fake: ScriptedModel
) -> None:
    fake.reply = calls_tools("block")
    async with running_fleet(fake, home=place.folder, environ=place.environ) as fleet:
        run = await fleet.start("Please block", mode="fast")
        await place.noted("blocking")
        assert (await fleet.cancel(run.run_id)).status == "cancelled"
        log = await fleet.log(run.run_id)
        assert log.types[-2:] == ["cancelled", "done"]
        assert "through" not in place.notes
        place.open_gate()
        await place.noted("through")
        assert (await collect(fleet, "Go on", mode="fast")).ending
        assert await fleet.log(run.run_id) == log
        assert "ERROR" not in fleet.output and "Traceback" not in fleet.output


@row(22)
async def test_a_tool_that_swallows_its_cancellation_holds_its_run_for_a_bounded_time_and_nobody_else(
    place: Place, fake: ScriptedModel
) -> None:
    """It holds it for the time that a workflow has to clean up; then the run ends, and the tool is left to itself. So
    it is when the service leaves."""
    fake.reply = calls_tools("cling")
    async with running_fleet(fake, home=place.folder, environ=place.environ) as fleet:
        run = await fleet.start("Please cling", mode="fast")
        await place.noted("clinging")
        finals: list[Run] = []
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                finals.append(await fleet.cancel(run.run_id))

            tasks.start_soon(cancel)
            await place.noted("swallowed")
            assert (await collect(fleet, "Go on", mode="fast")).ending
        assert [final.status for final in finals] == ["cancelled"]
        assert (await fleet.log(run.run_id)).types[-2:] == ["cancelled", "done"]
        assert await fleet.stop() == 0
        assert "through" not in place.notes


@row(30)
async def test_a_service_whose_tool_blocks_leaves_all_the_same_and_the_run_goes_on_later(
    place: Place, fake: ScriptedModel
) -> None:
    fake.reply = calls_tools("block")
    async with running_fleet(fake, home=place.folder, environ=place.environ, drain_grace=0) as fleet:
        run = await fleet.start("Please block", mode="fast")
        await place.noted("blocking")
        assert await fleet.stop() == 0
        assert "through" not in place.notes
        place.open_gate()
        await fleet.restart()
        assert (await fleet.run(run.run_id)).status == "interrupted"
        assert await fleet.get(f"/api/v1/runs/{run.run_id}/checkpoints")
        resumed = await fleet.resume(run.run_id)
        rest = Events([event async for event in watch_events(fleet, run.run_id, after=resumed.last_event_id or 0)])
        assert rest.text == "It said: blocked"

"""Programs in force: swapped for the next run, kept by a run that has begun, and never half."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import NotFound
from agentic_fleet.testing import ScriptedModel
from agentic_fleet.turns import Ask
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.saved import PACKAGED, Saved, SavedPrompt, Unreadable
from agentic_fleet.workflows.shelf import Misfit, Programs, Shelf, packaged, prompt_of
from tests.workflows.team import Notebook, Screen, Script, answered, finished, fleet_over, paused, plan, turn

ROSTER = load_roster()
BASIS = packaged(ROSTER)


def program(id: str, instructions: str = "Plan well.", **more: Any) -> Saved:
    prompt = prompt_of(BASIS.planner)
    changed = SavedPrompt(signature=prompt.signature, instructions=instructions, demos=prompt.demos[:1])
    given: dict[str, Any] = {
        "id": id, "parent": PACKAGED, "created_at": 1, "optimizer": "by hand", "seed": 0, "model": "m", "examples": 0,
        "data": "", "before": {}, "after": {}, "planner": changed,
    }  # fmt: skip
    return Saved(**(given | more))


def put(folder: Path, kept: Saved) -> None:
    saved.keep(folder, kept)
    saved.put_in_force(folder, kept.id)


async def test_the_next_run_uses_what_was_put_in_force(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, ROSTER, BASIS)
    assert await shelf.in_force() is BASIS
    put(tmp_path, program("one"))
    changed = await shelf.in_force()
    assert (changed.version, changed.planner.signature.instructions) == ("one", "Plan well.")
    assert len(changed.planner.demos) == 1
    assert changed.assessor is BASIS.assessor
    assert BASIS.planner.signature.instructions != "Plan well."  # a swap changes nothing that is in use
    assert await shelf.in_force() is changed
    saved.put_in_force(tmp_path, PACKAGED)
    assert await shelf.in_force() is BASIS


async def test_what_is_damaged_or_for_another_team_leaves_the_one_before_in_force(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, ROSTER, BASIS)
    put(tmp_path, program("good"))
    assert (await shelf.in_force()).version == "good"
    other = SavedPrompt(signature="0", instructions="x")
    put(tmp_path, program("misfit", planner=other))
    assert (await shelf.in_force()).version == "good"
    with pytest.raises(Misfit):
        await shelf.checked("misfit")
    (tmp_path / "in-force.json").write_text("{")
    assert (await shelf.in_force()).version == "good"
    assert await shelf.of("misfit") is None
    assert await shelf.of("stranger") is None


async def test_many_runs_at_the_swap_get_one_program_that_is_built_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(tmp_path, ROSTER, BASIS)
    loaded: list[str] = []
    load = shelf._load

    def counted(version: str) -> Programs:
        loaded.append(version)
        return load(version)

    monkeypatch.setattr(shelf, "_load", counted)
    put(tmp_path, program("one"))
    got: list[str] = []

    async def begin() -> None:
        got.append((await shelf.in_force()).version)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(begin)
    assert set(got) == {"one"}
    assert loaded == ["one"]


@pytest.mark.parametrize("id", ["../escape", "a/b", "", "x" * 65, "."])
def test_a_version_is_no_path(tmp_path: Path, id: str) -> None:
    with pytest.raises(NotFound):
        saved.read(tmp_path, id)
    with pytest.raises(NotFound):
        saved.put_in_force(tmp_path, id)


def test_a_file_that_is_no_program_is_refused_and_never_carried_out(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "bad.json").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Unreadable):
        saved.read(tmp_path, "bad")
    assert saved.listing(tmp_path) == []


async def test_a_run_that_paused_before_a_swap_goes_on_with_the_program_it_began_with(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    fake.reply = Script(plan=plan("sequential", "researcher", "writer"))
    fleet = fleet_over(endpoint, folder=tmp_path)
    put(tmp_path, program("one", "Plan as one does."))
    with anyio.fail_after(20):
        first, second = turn(require_plan_approval=True), turn(require_plan_approval=True)
        packaged_run = turn(require_plan_approval=True)
        asked = await paused(fleet, first, Screen())
        put(tmp_path, program("two", "Plan as two do."))
        calls = len(fake.calls)
        screen = Screen()
        await finished(fleet, answered(first, asked, {"approved": True}), screen)
        assert screen.thought("routing")["program_version"] == "one"
        assert screen.thought("quality")["program_version"] == "one"
        system = [call.body["messages"][0]["content"] for call in fake.calls[calls:]]
        assert not [text for text in system if text.startswith("Plan as two")]

        asked = await paused(fleet, second, Screen())
        saved.clear(tmp_path)  # its file is gone, but it is still in use here
        screen = Screen()
        await finished(fleet, answered(second, asked, {"approved": True}), screen)
        assert screen.thought("routing")["program_version"] == "two"

        asked = await paused(fleet, packaged_run, Screen())
        assert isinstance(packaged_run.memory, Notebook)
        assert not [key for key in packaged_run.memory.steps if key == "programs"]  # the packaged one needs no note
        put(tmp_path, program("three", "Plan as three do."))
        screen = Screen()
        await finished(fleet, answered(packaged_run, asked, {"approved": True}), screen)
        assert screen.thought("routing")["program_version"] == PACKAGED


async def test_plans_are_kept_under_the_program_that_made_them(tmp_path: Path) -> None:
    plain = Decisions(ROSTER)
    put(tmp_path, program("one"))
    other = plain.using(await Shelf(tmp_path, ROSTER, BASIS).in_force())
    ask = Ask(message="Compare trams and buses for a town of forty thousand people in the hills.")
    assert (await plain.plan(ask)).cached is False
    assert (await other.plan(ask)).cached is False
    assert (await plain.plan(ask)).cached is True
    assert len(plain.plans) == len(other.plans) == 2

"""Runs in the original's words."""

from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.turns import Emit, Result, Turn
from tests.script import Paced, asking, echo, question
from tests.web.site import Site, site
from tests.web.test_callers import two_callers


async def fail(turn: Turn, emit: Emit) -> Result:
    raise ModelFailed("no")


async def session(it: Site, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = await it.get(f"/api/v1/sessions/{run_id}")
    return found


async def test_a_session_is_a_run_and_what_is_unknown_of_it_is_left_out() -> None:
    async with site() as it:
        run = await it.start("one", reasoning_effort="maximal")
        await it.runs.idle()
        ended = await it.get(f"/api/v1/runs/{run['run_id']}")
        assert await session(it, run["run_id"]) == {
            "workflow_id": run["run_id"],
            "task": "one",
            "status": "completed",
            "created_at": ended["created_at"],
            "started_at": ended["started_at"],
            "completed_at": ended["completed_at"],
            "reasoning_effort": "maximal",
        }
        it.script.act = Paced()
        live = await session(it, (await it.start("two"))["run_id"])
        assert set(live) - {"started_at"} == {"workflow_id", "task", "status", "created_at"}
        assert live["status"] in ("created", "running")


async def test_every_state_has_one_of_the_five_words_of_the_original() -> None:
    async with site(fail) as it:
        assert (await session(it, (await it.finished())["run_id"]))["status"] == "failed"
        it.script.act = script = Paced()
        run = await it.start()
        await script.started.wait()
        assert (await session(it, run["run_id"]))["status"] == "running"
        it.runs.stop()
        await it.runs.idle()
        assert (await it.get(f"/api/v1/runs/{run['run_id']}"))["status"] == "interrupted"
        assert (await session(it, run["run_id"]))["status"] == "failed"


@pytest.mark.parametrize(("patience", "state"), [(300.0, "waiting"), (0.05, "suspended")])
async def test_a_run_that_a_human_must_answer_is_not_over(patience: float, state: str) -> None:
    async with site(asking(question("q1")), input_timeout=patience) as it:
        run = await it.start()
        async with it.stream(f"/api/v1/runs/{run['run_id']}/events") as reader:
            while (await reader.next()).get("kind") != "request":
                pass
            if state == "suspended":
                await reader.rest()
        assert (await it.get(f"/api/v1/runs/{run['run_id']}"))["status"] == state
        found = await session(it, run["run_id"])
        assert (found["status"], "completed_at" in found) == ("running", False)


async def test_deleting_a_session_ends_its_run_and_changes_no_ended_one() -> None:
    script = Paced()
    async with site() as it:
        completed = await it.finished()
        it.script.act = script
        run = await it.start()
        await script.started.wait()
        for path in (completed, run, run):
            deleted = await it.http.delete(f"/api/v1/sessions/{path['run_id']}")
            assert (deleted.status_code, deleted.content) == (204, b"")
        assert script.left.is_set()
        assert (await session(it, run["run_id"]))["status"] == "cancelled"
        assert (await session(it, completed["run_id"]))["status"] == "completed"
        assert (await it.http.delete("/api/v1/sessions/nobody")).status_code == 404


async def test_the_newest_sessions_come_first_and_pages_are_cut() -> None:
    async with site() as it:
        runs = [await it.finished(text) for text in ("one", "two", "three")]
        ids = [run["run_id"] for run in reversed(runs)]
        assert [each["workflow_id"] for each in await it.get("/api/v1/sessions")] == ids
        assert [each["workflow_id"] for each in await it.get("/api/v1/sessions?limit=1&offset=1")] == ids[1:2]
        assert (await it.http.get("/api/v1/sessions?limit=0")).status_code == 422


async def test_sessions_are_their_callers() -> None:
    async with two_callers(echo) as (it, alice, bob):
        run = await it.finished()
        path = f"/api/v1/sessions/{run['run_id']}"
        with anyio.fail_after(5):
            assert (await bob.get("/api/v1/sessions")).json() == []
            assert (await bob.get(path)).status_code == (await bob.delete(path)).status_code == 404
            assert (await alice.get(path)).status_code == 200

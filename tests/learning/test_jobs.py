"""Jobs: a real process each, one at a time, cancelled, interrupted, remembered, and adopted for the next run."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet import jsontext
from agentic_fleet.errors import Conflict, NotFound
from agentic_fleet.learning import EXAMPLES, process, worker
from agentic_fleet.learning.examples import append_example
from agentic_fleet.learning.jobs import INTERRUPTED, Job, Jobs
from agentic_fleet.learning.orders import Order
from agentic_fleet.settings import Settings
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.fleet import PROGRAMS
from agentic_fleet.workflows.saved import PACKAGED
from agentic_fleet.workflows.shelf import Shelf, packaged
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.learning.player import Player
from tests.learning.test_curriculum import example

ROSTER = load_roster()
BASIS = packaged(ROSTER)
PLANNER = Order(parts=("planner",))
REFUSED = "The model failed while it was measured: The model endpoint refused the key (401)."


@asynccontextmanager
async def jobs_over(fake: ScriptedModel, home: Path, **knobs: Any) -> AsyncIterator[Jobs]:
    settings = Settings(model="scripted", openai_base_url=fake.base_url, home=home, **knobs)
    async with Jobs.open(settings, Shelf(home / PROGRAMS, ROSTER, BASIS)) as jobs:
        yield jobs


async def test_a_job_makes_a_program_in_a_process_of_its_own_and_puts_it_in_force(
    fake: ScriptedModel, tmp_path: Path
) -> None:
    fake.reply = Player()
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path) as jobs:
            job = await jobs.ended(jobs.start(PLANNER, owner="local").id, owner="local")
            assert (job.status, job.error, job.adopted) == ("completed", None, True)
            assert job.outcome is not None
            assert saved.in_force(tmp_path / PROGRAMS) == job.outcome.version
            assert job.done == job.of > 100
            assert "better" in job.message
        async with jobs_over(fake, tmp_path) as again:  # the service was restarted
            (kept,) = again.all(owner="local")
            assert (kept.id, kept.status, kept.outcome) == (job.id, "completed", job.outcome)
            with pytest.raises(NotFound):
                again.get(job.id, owner="bob")
            assert again.all(owner="bob") == []


async def test_a_job_is_cancelled_its_process_ends_and_another_may_begin(fake: ScriptedModel, tmp_path: Path) -> None:
    fake.reply = lambda body: Reply("{", hang_after=0)
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path) as jobs:
            job = jobs.start(PLANNER, owner="local")
            with pytest.raises(Conflict, match=job.id):
                jobs.start(PLANNER, owner="local")
            with pytest.raises(Conflict) as refused:
                jobs.start(PLANNER, owner="bob")
            assert job.id not in str(refused.value)
            await fake.wait_for(lambda: fake.open > 0)
            assert job.status == "running"
            assert await jobs.cancel(job.id, owner="local") is job
            assert (job.status, job.error) == ("cancelled", None)
            await fake.settled()  # the process has gone, and its calls with it
            assert (await jobs.cancel(job.id, owner="local")).status == "cancelled"
            fake.reply = lambda body: Reply(status=401)
            other = await jobs.ended(jobs.start(PLANNER, owner="local").id, owner="local")
            assert (other.status, other.error) == ("failed", REFUSED)
    assert saved.in_force(tmp_path / PROGRAMS) == PACKAGED


async def test_a_job_ends_with_the_service_and_has_failed(fake: ScriptedModel, tmp_path: Path) -> None:
    fake.reply = lambda body: Reply("{", hang_after=0)
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path) as jobs:
            job = jobs.start(PLANNER, owner="local")
            await fake.wait_for(lambda: fake.open > 0)
        assert (job.status, job.error) == ("failed", INTERRUPTED)
        await fake.settled()


async def test_a_job_that_a_dead_service_left_has_failed(fake: ScriptedModel, tmp_path: Path) -> None:
    folder = tmp_path / PROGRAMS / "jobs"
    folder.mkdir(parents=True)
    left = Job(id="left", owner="local", order=PLANNER, created_at=1, status="running", started_at=2)
    (folder / "left.json").write_bytes(jsontext.encode(left))
    (folder / "torn.json").write_bytes(b"{")
    async with jobs_over(fake, tmp_path) as jobs:
        (job,) = jobs.all(owner="local")
    assert (job.id, job.status, job.error) == ("left", "failed", INTERRUPTED)


async def test_a_job_has_a_time(fake: ScriptedModel, tmp_path: Path) -> None:
    fake.reply = lambda body: Reply("{", hang_after=0)
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path, optimize_timeout=1) as jobs:
            job = await jobs.ended(jobs.start(PLANNER, owner="local").id, owner="local")
    assert job.status == "failed"
    assert "FLEET_OPTIMIZE_TIMEOUT" in str(job.error)


async def test_another_process_in_the_same_folder_is_noticed(fake: ScriptedModel, tmp_path: Path) -> None:
    with anyio.fail_after(60), worker.alone(Settings(home=tmp_path)):
        async with jobs_over(fake, tmp_path) as jobs:
            job = await jobs.ended(jobs.start(PLANNER, owner="local").id, owner="local")
    assert (job.status, job.error) == ("failed", "Another optimisation is at work in this folder.")
    assert not fake.calls


async def test_what_could_be_learned_from_is_counted_without_learning(fake: ScriptedModel, tmp_path: Path) -> None:
    known = labelled_tasks()[0].task
    for task, score in (("Describe the crane.", 9.0), ("Describe the quay.", 3.0), (known, 9.0)):
        append_example(tmp_path / EXAMPLES, example(task, quality_score=score))
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path) as jobs:
            job = await jobs.ended(jobs.start(Order(only_count=True), owner="local").id, owner="local")
    assert job.outcome is not None
    assert (job.status, job.outcome.examples["packaged"], job.adopted) == ("completed", 192, False)
    assert job.message.startswith("1 examples of the history could be learned from, beside 192 packaged ones. Found: ")
    for words in ("1 found good by people", "1 of lower quality", "1 known already"):
        assert words in job.message
    assert not fake.calls


async def test_examples_that_cannot_be_read_are_said(fake: ScriptedModel, tmp_path: Path) -> None:
    (tmp_path / EXAMPLES).mkdir(parents=True)
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path) as jobs:
            job = await jobs.ended(jobs.start(PLANNER, owner="local").id, owner="local")
    assert (job.status, job.error) == ("failed", "The examples could not be read: Is a directory.")


async def test_a_program_that_was_put_in_force_meanwhile_is_not_replaced(fake: ScriptedModel, tmp_path: Path) -> None:
    player, folder = Player(), tmp_path / PROGRAMS

    def reply(body: Any) -> Reply:
        if len(fake.calls) == 60:
            basis = saved.Saved(
                id="mine", parent=PACKAGED, created_at=1, optimizer="by hand", seed=0, model="", examples=0, data="",
                before={}, after={},
            )  # fmt: skip
            saved.keep(folder, basis)
            saved.put_in_force(folder, "mine")
        return player(body)

    fake.reply = reply
    with anyio.fail_after(60):
        async with jobs_over(fake, tmp_path) as jobs:
            job = await jobs.ended(jobs.start(PLANNER, owner="local").id, owner="local")
    assert (job.status, job.adopted) == ("completed", False)
    assert job.outcome and job.outcome.version and job.outcome.version in job.message
    assert saved.in_force(folder) == "mine"


def test_the_process_of_a_job_gets_no_keys_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_API_KEYS", "alice:hush-0123456789ab")
    monkeypatch.setenv("SOME_TOKEN", "hush")
    given = process._environment(Settings(model="m", openai_api_key="needed"))
    assert "hush" not in str(given)
    assert given["OPENAI_API_KEY"] == "needed"
    assert given["PATH"] == os.environ["PATH"]

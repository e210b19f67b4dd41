"""A service whose store is full or locked by somebody else: it says so, waits or fails what must fail, and recovers."""

import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from agentic_fleet.testing import Events, Fleet, Refused, Reply, ScriptedModel, collect, running_fleet, watch
from tests.faults.table import row

WORDS = [f"word{number} " for number in range(300)]


async def read(fleet: Fleet, run_id: str) -> Events:
    with anyio.fail_after(60):
        return Events([event async for event in watch(fleet, run_id)])


async def health_is(fleet: Fleet, status: int) -> str:
    """Return when it is, with what it says of the store."""
    with anyio.fail_after(60):
        while (answer := await fleet.http.get("/health")).status_code != status:
            pass
    return str(answer.json()["checks"]["store"]["detail"])


@row(36)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process's files")
async def test_a_disk_that_takes_nothing_in_mid_run_fails_that_run_and_nothing_else(
    tmp_path: Path, fake: ScriptedModel
) -> None:
    held = anyio.Event()
    async with running_fleet(fake, home=tmp_path, heartbeat=0.1) as fleet:
        whole = await collect(fleet, "Before", mode="fast")
        fake.reply = Reply(tokens=WORDS, hold_after=(2, held))
        run, seen = await fleet.start("Go", mode="fast"), Events()
        limits = resource.prlimit(fleet.pid, resource.RLIMIT_FSIZE)
        with anyio.fail_after(60):
            async for event in watch(fleet, run.run_id):
                seen.append(event)
                if event.delta and not held.is_set():
                    resource.prlimit(fleet.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
                    held.set()
        assert seen.types[-2:] == ["error", "done"]
        assert seen[-2].error == "The database failed."
        assert "failed" in await health_is(fleet, 503)
        assert await read(fleet, whole[0].run_id) == whole
        with pytest.raises(Refused) as refused:
            await fleet.start("More", mode="fast")
        assert refused.value.status == 503

        resource.prlimit(fleet.pid, resource.RLIMIT_FSIZE, limits)
        assert "It takes writes" in await health_is(fleet, 200)
        with anyio.fail_after(60):
            while (await fleet.run(run.run_id)).status != "failed" or await fleet.log(run.run_id) != seen:
                pass
        assert (await collect(fleet, "After", mode="fast")).text == "".join(WORDS)
        await fleet.kill()
        await fleet.restart()
        assert await fleet.log(whole[0].run_id) == whole
        assert await fleet.log(run.run_id) == seen
        assert (await fleet.run(run.run_id)).status == "failed"
        assert "Traceback" not in fleet.output


@row(37)
async def test_a_store_that_somebody_locks_delays_runs_and_neither_readers_nor_heartbeats(
    tmp_path: Path, fake: ScriptedModel
) -> None:
    """That it is still locked is known by who locks it, not by a clock."""
    held = anyio.Event()
    async with running_fleet(fake, home=tmp_path, heartbeat=0.1) as fleet:
        whole = await collect(fleet, "Before", mode="fast")
        fake.reply = Reply(tokens=WORDS, hold_after=(2, held))
        run = await fleet.start("Go", mode="fast")
        await fake.wait_for(lambda: any(call.tokens_sent == 2 for call in fake.calls))
        with closing(sqlite3.connect(tmp_path / "fleet.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            await fake.settled()  # the answer is there, and cannot be kept
            async with fleet.http.stream("GET", f"/api/v1/runs/{run.run_id}/events") as stream:
                beats = 0
                async for line in stream.aiter_lines():
                    assert "response.completed" not in line
                    beats += "heartbeat" in line
                    if beats == 5:
                        break
            assert await read(fleet, whole[0].run_id) == whole
            assert (await fleet.http.get("/ready")).status_code == 200
            assert "did not answer" in await health_is(fleet, 503)
            assert (await fleet.run(run.run_id)).status == "running"
            other.execute("COMMIT")
        seen = await read(fleet, run.run_id)
        assert seen.text == "".join(WORDS)
        assert seen == await fleet.log(run.run_id)
        assert "It takes writes" in await health_is(fleet, 200)
        assert "ERROR" not in fleet.output and "Traceback" not in fleet.output

"""kill -9 at any moment, under load: what was shown, and what was acknowledged, is there at the next start."""

import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import anyio
import httpx

from agentic_fleet.testing import CutOff, Events, Fleet, Reply, Run, ScriptedModel, running_fleet, watch
from agentic_fleet.turns import LIVE, Mode
from tests.faults.extent import times
from tests.faults.table import row
from tests.faults.told import assert_told, lives

CALLERS = 6
MODES: tuple[Mode, ...] = ("fast", "delegated", "sequential")
TRANSPORTS: tuple[Literal["sse", "websocket"], ...] = ("sse", "websocket")
WORDS = [f"{number} " for number in range(60)]


@dataclass
class Life:
    """What the callers of one life of the service were told."""

    kill_after: int  # events
    runs: list[Run] = field(default_factory=list)
    seen: dict[str, Events] = field(default_factory=dict)
    told: int = 0

    async def ask_on(self, fleet: Fleet, chance: Random) -> None:
        """One caller: a run after the other, each read to its end."""
        with suppress(httpx.TransportError, CutOff):
            while True:
                run = await fleet.start(f"Count {len(self.runs)}", mode=chance.choice(MODES))
                self.runs.append(run)
                seen = self.seen[run.run_id] = Events()
                async for event in watch(fleet, run.run_id, transport=chance.choice(TRANSPORTS), tries=1):
                    seen.append(event)
                    self.told += 1
                    if self.told == self.kill_after:
                        fleet.signal(signal.SIGKILL)


@row(32, 33)
async def test_kill_9_at_random_moments_under_load(tmp_path: Path, fake: ScriptedModel) -> None:
    """FLEET_FULL=1: 50 times, in one folder."""
    kills, chance = times(4, 50), Random()
    fake.reply = Reply(tokens=WORDS, pause=0.001)
    logs: dict[str, Events] = {}
    with anyio.fail_after(kills * 60):
        async with running_fleet(fake, home=tmp_path, run_rate=0) as fleet:
            for _ in range(kills):
                life = Life(chance.randrange(1, 1500))
                async with anyio.create_task_group() as callers:
                    for _ in range(CALLERS):
                        callers.start_soon(life.ask_on, fleet, chance)
                await fleet.gone()
                await fleet.restart()
                assert [run for status in LIVE for run in await fleet.runs(status=status)] == []
                logs |= await _kept(fleet, life)
                logs |= await _resumed(fleet, (run.run_id for run in life.runs), logs)
            for run_id, log in logs.items():
                assert await fleet.log(run_id) == log
            assert "ERROR" not in fleet.output and "Traceback" not in fleet.output


async def _kept(fleet: Fleet, life: Life) -> dict[str, Events]:
    """The logs of all that was acknowledged, when they are what was shown, and more."""
    logs = {}
    for run in life.runs:
        log = logs[run.run_id] = await fleet.log(run.run_id)
        seen = life.seen[run.run_id]
        assert log[: len(seen)] == seen
        assert_told(log)
        messages = (await fleet.get(f"/api/v1/conversations/{run.conversation_id}"))["messages"]
        answers = [event.message for event in log if event.type == "response.completed"]
        assert [each["content"] for each in messages] == [run.task, *answers]
    return logs


async def _resumed(fleet: Fleet, run_ids: Iterable[str], logs: dict[str, Events]) -> dict[str, Events]:
    """The logs of the interrupted ones among them, when they have gone on to their end."""
    resumed = {}
    for run_id in run_ids:
        if (await fleet.run(run_id)).status == "interrupted":
            cursor = (await fleet.resume(run_id)).last_event_id or 0
            rest = Events([event async for event in watch(fleet, run_id, after=cursor)])
            assert rest.text == "".join(WORDS)
            log = resumed[run_id] = await fleet.log(run_id)
            assert log == logs[run_id] + rest
            assert_told(log)
            assert len(lives(log)) == 2
    return resumed

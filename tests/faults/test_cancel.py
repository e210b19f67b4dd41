"""Cancelling while the answer is nearly there: the whole service, a real HTTP model, one ending each."""

from collections import Counter
from contextlib import aclosing
from random import Random

import anyio

from agentic_fleet.events import ENDINGS
from agentic_fleet.testing import Events, Reply, Run, ScriptedModel, running_fleet, watch
from tests.faults.extent import times
from tests.faults.table import row

AT_ONCE = 10


@row(18, 19)
async def test_a_cancel_at_any_event_leaves_one_ending_and_hangs_up(fake: ScriptedModel) -> None:
    """FLEET_FULL=1: 1,000 runs."""
    rounds, chance = times(10, 100), Random(5)
    fake.reply = lambda body: Reply("one two three")
    endings = Counter[str]()
    with anyio.fail_after(rounds * 30):
        async with running_fleet(fake, run_rate=0) as fleet:

            async def one(seq: int) -> None:
                run = await fleet.start("Go", mode="fast")
                seen, finals = Events(), list[Run]()
                async with aclosing(watch(fleet, run.run_id)) as events:
                    async for event in events:
                        seen.append(event)
                        if event.seq == seq:
                            finals = [await fleet.cancel(run.run_id) for _ in range(2)]
                log = await fleet.log(run.run_id)
                assert seen == log
                assert [event.seq for event in log] == list(range(1, len(log) + 1))
                assert [kind in ENDINGS for kind in log.types].count(True) == 1
                ending = {"response.completed": "completed", "cancelled": "cancelled"}[log.types[-2]]
                assert {final.status for final in (*finals, await fleet.run(run.run_id))} == {ending}
                endings[ending] += 1

            for _ in range(rounds):
                async with anyio.create_task_group() as tasks:
                    for _ in range(AT_ONCE):
                        tasks.start_soon(one, chance.randrange(1, 14))
            await fake.settled()
            assert "ERROR" not in fleet.output and "Traceback" not in fleet.output
    assert len(endings) == 2 and endings.total() == rounds * AT_ONCE

"""Thousands of short runs, one after the other: whatever a service holds when it is idle stays as it is."""

from itertools import combinations
from pathlib import Path
from statistics import median

import anyio

from agentic_fleet.testing import Fleet, Reply, ScriptedModel, collect, running_fleet
from tests.faults.extent import times
from tests.faults.processes import descriptors, metric, resident
from tests.faults.table import row

AT_ONCE = 10
LOOKS = 20
"""Times that it is looked at; the first half is for warming up."""


@row(69)
async def test_after_thousands_of_runs_a_service_holds_no_more_than_before(tmp_path: Path, fake: ScriptedModel) -> None:
    """By the slope over the second half. FLEET_FULL=1: 5,000 runs."""
    runs = times(400, 5000)
    fake.reply = Reply("all is well")
    looks: list[dict[str, float]] = []
    with anyio.fail_after(runs):
        async with running_fleet(fake, home=tmp_path, run_rate=0) as fleet:
            for _ in range(LOOKS):
                for _ in range(runs // LOOKS // AT_ONCE):
                    async with anyio.create_task_group() as tasks:
                        for number in range(AT_ONCE):
                            tasks.start_soon(one, fleet, number)
                fake.calls.clear()
                looks.append(await held(fleet))
            assert "ERROR" not in fleet.output and "Traceback" not in fleet.output
    for what in looks[0]:
        values = [look[what] for look in looks[LOOKS // 2 :]]
        assert slope(values) * len(values) <= 0.1 * median(values), f"{what} grows: {values}"


async def one(fleet: Fleet, number: int) -> None:
    events = await collect(fleet, "Go", mode="fast", transport="websocket" if number % 2 else "sse")
    assert events.types[-2:] == ["response.completed", "done"]


async def held(fleet: Fleet) -> dict[str, float]:
    """When it is idle."""
    while await metric(fleet, "fleet_runs_live") or await metric(fleet, "fleet_streams_open"):
        pass
    wal = await anyio.Path(fleet.home / "fleet.db-wal").stat()
    return {
        "memory": resident(fleet),
        "descriptors": descriptors(fleet),
        "tasks": await metric(fleet, "fleet_tasks"),
        "log": wal.st_size,
    }


def slope(values: list[float]) -> float:
    """Per look: the median of the slopes between any two (Theil and Sen), which no single look can move."""
    places = enumerate(values)
    return median((later - sooner) / (to - at) for (at, sooner), (to, later) in combinations(places, 2))

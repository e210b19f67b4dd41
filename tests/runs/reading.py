"""Reading a run's log the way a client does."""

import json
from typing import Any

from agentic_fleet.runs import Runs, Watch

Event = dict[str, Any]


async def rest(watch: Watch) -> list[Event]:
    """Everything from the cursor to the end."""
    events: list[Event] = []
    with watch:
        while records := await watch.next():
            events += [json.loads(record.body) for record in records]
    return events


async def some(watch: Watch, count: int) -> list[Event]:
    """At least `count` events, leaving the watch open."""
    events: list[Event] = []
    while len(events) < count:
        events += [json.loads(record.body) for record in await watch.next()]
    return events


async def whole(runs: Runs, run_id: str) -> list[Event]:
    return await rest(await runs.watch(run_id))


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def text(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.delta")

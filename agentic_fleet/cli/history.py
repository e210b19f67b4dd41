"""What the runs did, newest first: who worked, how good it was, how long it took; or all that is kept of one."""

import argparse
import json
from functools import partial
from typing import Any

from agentic_fleet.cli.client import Client
from agentic_fleet.cli.listing import show_facts, show_json, show_table, when
from agentic_fleet.cli.session import arguments, carry_out

_COLUMNS = ("run", "status", "mode", "agents", "quality", "seconds", "created", "task")


async def work(given: argparse.Namespace, client: Client) -> int:
    if given.run is not None:
        found = await client.get(f"/api/v1/history/{given.run}")
        if given.json:
            print(json.dumps(found))
        else:
            show_facts(found)
        return 0
    executions = await client.get("/api/v1/history", limit=given.limit)
    if given.json:
        show_json(executions)
    else:
        show_table(_COLUMNS, map(_row, executions), empty="There is no history.")
    return 0


def _row(it: dict[str, Any]) -> tuple[object, ...]:
    routing, latency = it["routing"], it["latency"]
    return (
        it["workflow_id"],
        it["status"],
        routing.get("execution_mode") or it["mode"],
        ", ".join(routing["selected_agents"]),
        it["quality"].get("score"),
        None if latency is None else f"{latency:.1f}",
        when(it["created_at"]),
        it["task"],
    )


def main() -> int:
    parser = arguments("history", __doc__ or "")
    parser.add_argument("run", nargs="?", help="the id of a run; without one, all are listed")
    parser.add_argument("--limit", type=int, default=25, help="how many are listed, 1 to 100 (default: 25)")
    given = parser.parse_args()
    return carry_out(given.url, partial(work, given))

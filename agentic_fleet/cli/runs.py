"""The runs, newest first; or one of them: show it, watch it from its beginning, cancel it, let it go on."""

import argparse
import json
from functools import partial

from agentic_fleet.cli.client import Client
from agentic_fleet.cli.listing import show_facts, show_json, show_table, when
from agentic_fleet.cli.session import arguments, carry_out
from agentic_fleet.cli.watching import watched
from agentic_fleet.turns import RunStatus

_COLUMNS = ("run", "status", "mode", "quality", "created", "task")


async def work(given: argparse.Namespace, client: Client) -> int:
    if given.run is None:
        return await _list(given, client)
    path = f"/api/v1/runs/{given.run}"

    async def begin() -> tuple[str, str | None]:
        resumed = await client.post(f"{path}/resume", {}) if given.resume else {}
        return given.run, resumed.get("last_event_id")

    if given.watch or given.resume:
        return await watched(client, begin, as_json=given.json)
    found = await (client.post(f"{path}/cancel", {}) if given.cancel else client.get(path))
    if given.json:
        print(json.dumps(found))
    else:
        show_facts(found)
    return 0


async def _list(given: argparse.Namespace, client: Client) -> int:
    query = {"limit": given.limit} | ({"status": given.status} if given.status else {})
    found = await client.get("/api/v1/runs", **query)
    if given.json:
        show_json(found)
    else:
        rows = [
            (it["run_id"], it["status"], it["mode"], it["quality_score"], when(it["created_at"]), it["task"])
            for it in found
        ]
        show_table(_COLUMNS, rows, empty="There are no runs.")
    return 0


def main() -> int:
    parser = arguments("runs", __doc__ or "")
    parser.add_argument("run", nargs="?", help="the id of a run; without one, all are listed")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--watch", action="store_true", help="show it from its beginning to its end, live or over")
    what.add_argument("--cancel", action="store_true", help="end it")
    what.add_argument("--resume", action="store_true", help="let it go on from its last checkpoint, and watch it")
    parser.add_argument("--status", choices=[status.value for status in RunStatus], help="list these only")
    parser.add_argument("--limit", type=int, default=25, help="how many are listed, 1 to 100 (default: 25)")
    given = parser.parse_args()
    if given.run is None and (given.watch or given.cancel or given.resume):
        parser.error("which run? `python -m agentic_fleet runs` lists them")
    return carry_out(given.url, partial(work, given))

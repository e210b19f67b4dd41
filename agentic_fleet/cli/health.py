"""What works and what does not, in words; for people, and for whoever restarts what is ill.

Asks only a service that is there: the one of --url, or that of FLEET_HOST and FLEET_PORT on this machine.
"""

import json
from functools import partial

from agentic_fleet.cli.client import Client
from agentic_fleet.cli.listing import show_table
from agentic_fleet.cli.session import arguments, carry_out


async def check(as_json: bool, client: Client) -> int:
    found = await client.health()
    if as_json:
        print(json.dumps(found))
    else:
        parts = [*found["checks"].items(), *((f"tool {name}", it) for name, it in found["tools"].items())]
        rows = [(name, it["status"], it["detail"]) for name, it in parts]
        show_table(("part", "status", "what that means"), rows, most=1000)
    return 0 if found["status"] == "ok" else 1


def main() -> int:
    given = arguments("health", __doc__ or "").parse_args()
    return carry_out(given.url, partial(check, given.json), launch=False)

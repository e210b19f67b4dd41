"""Who is on the team, with which model and tools."""

from functools import partial
from typing import Any

from agentic_fleet.cli.client import Client
from agentic_fleet.cli.listing import show_json, show_table
from agentic_fleet.cli.session import arguments, carry_out


async def list_agents(as_json: bool, client: Client) -> int:
    found = await client.get("/api/v1/agents")
    if as_json:
        show_json(found)
    else:
        rows = [(it["name"], it["model"], _tools(it), it["description"]) for it in found]
        show_table(("agent", "model", "tools", "what it does"), rows, empty="There are no agents.")
        for tool, why in {tool: why for it in found for tool, why in it["unavailable_tools"].items()}.items():
            print(f"{tool} cannot be used: {why}")
    return 0


def _tools(agent: dict[str, Any]) -> str:
    return ", ".join(f"({tool})" if tool in agent["unavailable_tools"] else tool for tool in agent["tools"])


def main() -> int:
    given = arguments("agents", __doc__ or "").parse_args()
    return carry_out(given.url, partial(list_agents, given.json))

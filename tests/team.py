"""A team for tests: one agent, "helper", with the tools that a test is about."""

CHECKER = """
[agents.checker]
skill = "checking"
description = "Checks."
instructions = "Check."
"""
NOTE = """
[tools.note]
function = "tests.notes:note"
approval = true
"""


def helper_team(*tools: str, more: str = "") -> str:
    """A roster file. `more` has the tables of further agents, and of tools that are not built in."""
    names = ", ".join(f'"{tool}"' for tool in tools)
    return f"""
[workflow]
fast_agent = "helper"
synthesis_agent = "helper"

[agents.helper]
skill = "help"
description = "Helps."
instructions = "Help."
tools = [{names}]
{more}"""

"""What a user wants changed in a plan, as far as rules can tell from their words: names of agents and of modes.

"Without the reviewer", "use the coder instead of the writer", "only the analyst", "in parallel, please".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.plans import ALONE, Plan, Work

Name = TypeVar("Name", bound=str)

_NOT = (
    r"(?P<no>\b(?:without|no|not|don't use|do not use|instead of|rather than|remove|drop|skip|except|leave out|replace"
    r"|ohne|statt|nicht|sans|sin)\s+(?:(?:the|a|an|in|by|den|die|das|der|le|la|el)\s+)?)?"
)
_ONLY = re.compile(r"\b(only|just|alone|nur|seulement|solo)\b", re.IGNORECASE)
_MODES: Mapping[Work, str] = {
    "fast": "fast",
    "delegated": "delegated",
    "sequential": r"sequential|sequentially|in sequence|one after the other|in turn",
    "parallel": "parallel|side by side|at the same time",
    "handoff": "handoff|hand-off|hand off",
    "discussion": "discussion|discuss",
}


def named_mode(changes: Sequence[str]) -> Work | None:
    """The mode that the words ask for; of several, the last."""
    asked = [mode for mode, wanted in _mentions(" ".join(changes), _MODES) if wanted]
    return asked[-1] if asked else None


def obeyed(plan: Plan, changes: Sequence[str], roster: Roster) -> Plan:
    """`plan` with the agents that the words want and without those that they do not; as it was when they name none."""
    names = {name: re.escape(name) for name in roster}
    mentions = _mentions(" ".join(changes), names)
    wanted = tuple(dict.fromkeys(name for name, want in mentions if want))
    unwanted = {name for name, want in mentions if not want} - set(wanted)
    kept = tuple(name for name in plan.agents if name not in unwanted and name not in wanted)
    if wanted and (_ONLY.search(" ".join(changes)) or named_mode(changes) in ALONE):
        kept = ()
    agents = _in_order(plan.agents, kept[: max(0, roster.bounds.max_agents - len(wanted))] + wanted)
    agents = agents[: roster.bounds.max_agents]
    if not agents or agents == plan.agents:
        return plan
    mode: Work = plan.mode
    if len(agents) == 1 and mode not in ALONE:
        mode = "delegated"
    elif len(agents) > 1 and mode in ALONE:
        mode = "sequential"
    return replace(
        plan,
        complexity="simple" if mode in ALONE else "complex",
        mode=mode,
        agents=agents,
        subtasks={name: part for name, part in plan.subtasks.items() if name in agents},
        reason=f"{plan.reason} The user asked for changes.",
    )


def _in_order(order: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Those that had a place keep it; the others follow."""
    names = tuple(names)
    return tuple(name for name in order if name in names) + tuple(name for name in names if name not in order)


def _mentions(text: str, patterns: Mapping[Name, str]) -> list[tuple[Name, bool]]:
    """Which names the text has, in its order, and whether they are wanted."""
    found = [
        (match.start("name"), name, match["no"] is None)
        for name, pattern in patterns.items()
        for match in re.finditer(rf"{_NOT}(?<!\w)(?P<name>{pattern})s?(?!\w)", text, re.IGNORECASE)
    ]
    return [(name, wanted) for _, name, wanted in sorted(found, key=lambda mention: mention[0])]

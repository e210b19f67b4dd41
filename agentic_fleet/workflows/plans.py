"""What the supervisor decides: a plan before the work and an assessment after it, whoever makes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agentic_fleet.turns import Mode

Complexity = Literal["simple", "complex"]
Work = Literal["fast", "delegated", "sequential", "parallel"]
PlannedBy = Literal["rule", "classifier", "model", "fallback"]
Verdict = Literal["complete", "refine", "continue"]
WORKS: tuple[Work, ...] = ("fast", "delegated", "sequential", "parallel")
ALONE = frozenset[Work]({"fast", "delegated"})
"""The ways of working that take one agent; the others take two or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who works, and how. `agents` are in working order and members of the roster: one when ALONE, else 2 or more."""

    complexity: Complexity
    mode: Work
    agents: tuple[str, ...]
    subtasks: Mapping[str, str] = field(default_factory=dict)  # agent -> its part, where it was given one
    reason: str
    decided_by: PlannedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How good an answer is. `continue`: it breaks off; `refine`: it is whole, but something is missing or wrong."""

    verdict: Verdict
    score: float  # 0..10
    missing: str = ""  # one sentence; empty when nothing is
    decided_by: Literal["rules", "model"]


def forced(plan: Plan, mode: Mode, agents: tuple[str, ...]) -> Plan:
    """`plan` in the mode that was asked for. `agents` fills up, in order, when that mode takes more than one."""
    if mode == "auto" or mode == plan.mode:
        return plan
    team = plan.agents[:1] if mode in ALONE else tuple(dict.fromkeys(plan.agents + agents))[: max(2, len(plan.agents))]
    return replace(plan, mode=mode, agents=team, reason=f"{plan.reason} The request asked for the mode {mode}.")

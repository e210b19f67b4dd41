"""What the supervisor decides: a plan before the work and an assessment after it, whoever makes them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agentic_fleet.turns import Mode

Complexity = Literal["simple", "complex"]
Work = Literal["fast", "delegated", "sequential", "parallel", "handoff", "discussion"]
PlannedBy = Literal["rule", "classifier", "model", "fallback"]
Verdict = Literal["complete", "refine", "continue"]
Flag = Literal["empty", "refusal", "low_confidence"]
WORKS: tuple[Work, ...] = ("fast", "delegated", "sequential", "parallel")
"""The ways of working that a planner may choose by itself; the others cost more, and are for those who ask for them."""
ALONE = frozenset[Work]({"fast", "delegated"})
"""The ways of working that take one agent; the others take two or more."""
Said = tuple[str, str]
"""One contribution to a discussion: an agent, and its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who works, and how. `agents` are in working order and members of the roster: one when ALONE, else 2 or more."""

    complexity: Complexity
    mode: Work
    agents: tuple[str, ...]
    subtasks: Mapping[str, str] = field(default_factory=dict)  # agent -> its part, where it was given one
    capabilities: tuple[str, ...] = ()  # the agents' skills
    steps: tuple[str, ...] = ()  # the parts as short sentences, in working order
    tools: tuple[str, ...] = ()  # those of the agents' tools that the planner expects to be used
    reason: str
    decided_by: PlannedBy
    cached: bool = False  # made for an equal question a short while ago


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """How good an answer is. `continue`: it breaks off; `refine`: it is whole, but something is missing or wrong."""

    verdict: Verdict
    score: float  # 0..10
    missing: str = ""  # one sentence; empty when nothing is
    decided_by: Literal["rules", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who speaks next in a discussion."""

    speaker: str | None  # None: the discussion is over
    decided_by: PlannedBy


def forced(plan: Plan, mode: Mode, agents: tuple[str, ...]) -> Plan:
    """`plan` in the mode that was asked for. `agents` fills up, in order, when that mode takes more than one.

    Where there is only one agent in all, it works alone.
    """
    if mode == "auto" or mode == plan.mode:
        return plan
    team = plan.agents[:1] if mode in ALONE else tuple(dict.fromkeys(plan.agents + agents))[: max(2, len(plan.agents))]
    if len(team) == 1 and mode not in ALONE:
        return replace(plan, reason=f"{plan.reason} The mode {mode} takes more than one agent.")
    return replace(plan, mode=mode, agents=team, reason=f"{plan.reason} The request asked for the mode {mode}.")


class PlanCache:
    """The last `size` plans, each for `ttl` seconds from when it was made. `clock` counts seconds, never backwards."""

    def __init__(self, *, size: int, ttl: float, clock: Callable[[], float]) -> None:
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Plan]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Plan | None:
        made, plan = self._kept.get(key, (0.0, None))
        if plan is None:
            return None
        if self._clock() - made >= self._ttl:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return replace(plan, cached=True)

    def keep(self, key: Hashable, plan: Plan) -> None:
        """The least recently used plan makes room."""
        self._kept[key] = (self._clock(), plan)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        self._kept.clear()

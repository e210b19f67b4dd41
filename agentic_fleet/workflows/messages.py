"""What passes between the phases: plain data, because the framework copies it deeply and checkpoints hold it.

Each message names the phase it is for. Whoever changes one raises checkpoints.WORKFLOW.
"""

from dataclasses import dataclass
from typing import ClassVar

from agent_framework import register_checkpoint_type

from agentic_fleet.workflows.modes import Answer
from agentic_fleet.workflows.plans import Assessment, Plan


@dataclass(frozen=True, slots=True)
class Begun:
    phase: ClassVar[str] = "analysis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    phase: ClassVar[str] = "routing"
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer, and how good it is."""

    answer: Answer
    assessment: Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """`best` of the rounds so far is what this one is to improve."""

    phase: ClassVar[str] = "execution"
    plan: Plan
    round: int = 1
    best: Draft | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    phase: ClassVar[str] = "progress"
    task: Routed
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    phase: ClassVar[str] = "quality"
    task: Routed
    draft: Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A refinement came to nothing: the answer before it stands."""

    phase: ClassVar[str] = "quality"
    best: Draft


for _kind in (Begun, Analysed, Draft, Routed, Worked, Assessed, Settled, Plan, Answer, Assessment):
    register_checkpoint_type(_kind)

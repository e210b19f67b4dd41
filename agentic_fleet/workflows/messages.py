"""What passes between the phases: plain data, because checkpoints hold it as JSON.

Each message names the phase it is for. Whoever changes one raises checkpoints.FORMAT.
"""

from typing import ClassVar, Self

import msgspec

from agentic_fleet.workflows.modes import Answer
from agentic_fleet.workflows.plans import Assessment, Plan


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    def __deepcopy__(self, _: object) -> Self:
        """The framework copies whatever passes; but nobody changes a message, nor what is in it."""
        return self


class Begun(_Message, frozen=True):
    phase: ClassVar[str] = "analysis"


class Analysed(_Message, frozen=True):
    phase: ClassVar[str] = "routing"
    plan: Plan


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and how good it is."""

    answer: Answer
    assessment: Assessment


class Routed(_Message, frozen=True):
    """`best` of the rounds so far is what this one is to improve."""

    phase: ClassVar[str] = "execution"
    plan: Plan
    round: int = 1
    best: Draft | None = None


class Worked(_Message, frozen=True):
    phase: ClassVar[str] = "progress"
    task: Routed
    answer: Answer


class Assessed(_Message, frozen=True):
    phase: ClassVar[str] = "quality"
    task: Routed
    draft: Draft


class Settled(_Message, frozen=True):
    """A refinement came to nothing: the answer before it stands."""

    phase: ClassVar[str] = "quality"
    best: Draft


Message = Begun | Analysed | Routed | Worked | Assessed | Settled

"""What an optimisation is asked for, and what it came to: plain data, as it travels between processes."""

from typing import Annotated, Any, Literal

import msgspec

from agentic_fleet.learning.compile import Auto, Optimizer
from agentic_fleet.workflows.tasks import Task

Part = Literal["planner", "assessor"]
MODULES: dict[str, tuple[Part, ...]] = {
    "all": ("planner", "assessor"),
    "DSPyReasoner": ("planner", "assessor"),
    "reasoner": ("planner", "assessor"),
    "supervisor": ("planner", "assessor"),
    "planner": ("planner",),
    "assessor": ("assessor",),
}
"""What a client may name, and what of it is optimised."""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    parts: tuple[Part, ...] = ("planner", "assessor")
    auto: Auto = "light"
    optimizer: Optimizer | None = None  # None: the one that belongs to `auto`
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    most: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None  # rounds of an optimiser that goes by rounds
    history: bool = True  # also learn from what runs did
    min_quality: Annotated[float, msgspec.Meta(ge=0, le=10)] = 8.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200  # examples of the history
    only_count: bool = False  # say what there is to learn from, and end
    caller: str | None = None  # whose runs it learns from; None: everybody's


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`note` says in a sentence what came of it and why. `version` is a new program, saved and not yet in force."""

    note: str
    version: str | None = None
    parent: str
    optimizer: str
    model: str
    improved: tuple[Part, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    validation: dict[str, Any] = {}
    examples: dict[str, int] = {}
    seconds: float = 0.0


class Work(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the worker is told. `more` are labelled tasks to learn from, besides the history."""

    order: Order
    more: tuple[Task, ...] = ()


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the worker says, a line each: progress, and at last an outcome or why there is none."""

    saying: str = ""
    done: int = 0
    of: int = 0
    outcome: Outcome | None = None
    failed: str = ""

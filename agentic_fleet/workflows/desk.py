"""What the shared parts (clients, tools, agents) may know of the run they are working for: one object, one ContextVar.

It is also how a run goes on without repeating itself. Every finished step (a model's answer, a tool's result) is kept
under a key made of what went into it; a run that comes to the same step again, after a human's answer or a restart,
gets the outcome back instead of doing the work twice. So a pause needs no frozen agents: the run is simply carried out
again, and is back where it was within milliseconds.
"""

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from agentic_fleet import jsontext
from agentic_fleet.turns import Emit, PendingRequest, Turn
from agentic_fleet.workflows.usage import Usage


class Paused(Exception):
    """The run cannot go on without a human. Not a failure: `Fleet.run` turns it into a `Pause`."""

    def __init__(self, *requests: PendingRequest) -> None:
        super().__init__("waiting for a human")
        self.requests = requests


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the run. `value` is its outcome when it has been done before."""

    key: str
    value: bytes | None


class Desk:
    """One place in one turn of one run. `emit` waits while the store is behind.

    Equal steps and questions are told apart by their order. A run that goes on from a later checkpoint does not meet
    those before it again, so every phase and round has a `place` and counts for itself.
    """

    def __init__(self, turn: Turn, emit: Emit, place: str = "") -> None:
        self.turn = turn
        self.emit = emit
        self.usage = Usage(kept_counts=not turn.retell)  # of the decisions made here
        self._place = place
        self._met: Counter[str] = Counter()

    def part(self, agent: str) -> "Desk":
        """The desk at which the agent plays its next part. A part that has ended is not played again, so what it did
        and asked is not met again either: a later part of the same agent must not count on it.
        """
        nth = self._met[f"part:{agent}"]
        self._met[f"part:{agent}"] += 1
        return Desk(self.turn, self.emit, f"{self._place}/{agent}.{nth}")

    async def step(self, kind: str, content: bytes) -> Step:
        """The step that does `content`."""
        digest = f"{self._place}/{kind}:{hashlib.sha256(content).hexdigest()[:32]}"
        key = f"{digest}:{self._met[digest]}"
        self._met[digest] += 1
        return Step(key, await self.turn.memory.step(key))

    async def keep(self, step: Step, value: bytes) -> None:
        """The step has been done. StoreFailed ends the run: it could not be trusted to go on later."""
        await self.turn.memory.keep_step(step.key, value)

    def answer(self, request_type: str, request: Any) -> Any:
        """What the human answers to `request` (JSON). Raises Paused until there is an answer."""
        asked = f"{self.turn.run_id}\0{self._place}\0{request_type}\0".encode() + jsontext.encode(request)
        digest = hashlib.sha256(asked).hexdigest()
        request_id = hashlib.sha256(f"{digest}{self._met[digest]}".encode()).hexdigest()[:20]
        self._met[digest] += 1
        if request_id not in self.turn.answers:
            raise Paused(PendingRequest(request_id=request_id, request_type=request_type, request=request))
        return self.turn.answers[request_id]


Hear = Callable[[str, str], Awaitable[bool]]
"""Is told what a model thinks and says, as it does; both may be empty. Returns whether it wants to hear more."""


@dataclass(slots=True)
class Part:
    """One agent's part of the work.

    `live` once it does something that it had not done before. `usage` is what its answers cost. `pauses` are the
    questions its tools have met: whoever plays the part raises them as `Paused` when the agent has come to rest, so
    that its other tools can finish. `hear` is told the agent's words.
    """

    agent: str
    usage: Usage
    live: bool = False
    pauses: list[PendingRequest] = field(default_factory=list)
    hear: Hear | None = None


desk: ContextVar[Desk | None] = ContextVar("desk", default=None)
part: ContextVar[Part | None] = ContextVar("part", default=None)


@contextmanager
def at(new: Desk) -> Iterator[Desk]:
    """`new` is the desk for the block and every task that starts in it."""
    token = desk.set(new)
    try:
        yield new
    finally:
        desk.reset(token)


@contextmanager
def playing(agent: str, usage: Usage) -> Iterator[Part]:
    """The agent's part, for the block and every task that starts in it."""
    mine = Part(agent, usage)
    token = part.set(mine)
    try:
        yield mine
    finally:
        part.reset(token)


def go_live() -> None:
    """The part at hand does something new from here on."""
    if mine := part.get():
        mine.live = True


def ears() -> Hear | None:
    """Who hears the words of the part at hand, one by one."""
    mine = part.get()
    return mine.hear if mine else None


def usage() -> Usage | None:
    """Where an answer that comes in is counted; None outside a run."""
    if mine := part.get():
        return mine.usage
    at = desk.get()
    return at.usage if at else None

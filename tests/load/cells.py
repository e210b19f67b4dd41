"""The measurements that are compared: a crowd of a size, over a transport, asking one subject. In rounds, in turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.load.crowd import Crowd, Sample
from tests.load.subjects import FLEET, HTTPX, OPENAI, TRANSPORTS, Stage, Wish

FAST, DELEGATED = "fast", "delegated"
CONTENDERS = ((FLEET, FAST), (FLEET, DELEGATED), (OPENAI, ""), (HTTPX, ""))
PACE = 20
"""Milliseconds a token, where it matters how fast a model speaks."""


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int = 3
    streams: Sequence[int] = (1, 16, 64, 100, 256)
    busy: int = 64  # of them: the one that targets and the success metrics speak of
    tokens: int = 200  # of an answer that comes as fast as it can
    paced: int = 200  # of an answer at PACE
    ramp: float = 1.0  # seconds over which paced streams begin
    crowded: int = 100  # streams that must not fall behind
    idle: int = 1000  # streams whose memory is measured
    live: int = 400
    watchers: int = 200
    watched: float = 5.0  # seconds
    settled: float = 1.0  # seconds until a process is as large as it gets
    stored: float = 3.0  # seconds that each measurement of the store takes


FULL = Plan()
QUICK = Plan(
    rounds=1,
    streams=(1, 3),
    busy=3,
    tokens=20,
    paced=10,
    ramp=0.05,
    crowded=3,
    idle=10,
    live=10,
    watchers=3,
    watched=0.3,
    settled=0.05,
    stored=0.2,
)


@dataclass(frozen=True, slots=True)
class Cell:
    """`pace` is in milliseconds; 0 is as fast as it comes."""

    transport: str
    streams: int
    pace: int


@dataclass
class Cells:
    """All samples: of a cell, by subject and mode, one for each round."""

    plan: Plan
    samples: dict[Cell, dict[str, list[Sample]]] = field(default_factory=dict)

    def measure(self, stage: Stage) -> Iterator[str]:
        """Says what comes next, before each measurement."""
        for subject, mode in CONTENDERS:  # what only the first ones pay for is not measured
            _sample(stage, Cell("sse", 2, 0), subject, mode, self.plan)
        cells = [Cell(way, streams, pace) for pace in (0, PACE) for way in TRANSPORTS for streams in self.plan.streams]
        for nth in range(self.plan.rounds):
            for cell in cells:
                yield f"round {nth + 1} of {self.plan.rounds}: {cell.streams} x {cell.transport}, {_speed(cell)}"
                turn = CONTENDERS[nth % 4 :] + CONTENDERS[: nth % 4]  # nobody is always the first
                for subject, mode in turn:
                    found = self.samples.setdefault(cell, {}).setdefault(name(subject, mode), [])
                    found.append(_sample(stage, cell, subject, mode, self.plan))

    @property
    def faults(self) -> int:
        return sum(sample.faults for each in self._fleet() for sample in each)

    @property
    def checked(self) -> int:
        return sum(sample.streams for each in self._fleet() for sample in each)

    def _fleet(self) -> Iterator[list[Sample]]:
        for found in self.samples.values():
            yield from (samples for who, samples in found.items() if who.startswith(FLEET))


def name(subject: str, mode: str = "") -> str:
    return f"{subject} {mode}".strip()


def _speed(cell: Cell) -> str:
    return f"a token every {cell.pace} ms" if cell.pace else "as fast as they come"


def _sample(stage: Stage, cell: Cell, subject: str, mode: str, plan: Plan) -> Sample:
    wish = Wish(plan.paced if cell.pace else plan.tokens, cell.pace)
    child = stage.children[subject]
    asks = stage.asks(subject, cell.transport, mode, cell.streams, wish)
    ramp = plan.ramp if cell.pace else 0.0
    return Crowd(child.url, asks, child, ramp=ramp, tokens=wish.tokens).read()

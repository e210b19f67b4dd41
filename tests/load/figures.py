"""Numbers that survive a noisy machine: ratios within a round, their median over the rounds, and their spread."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

from tests.load.cells import Cell, Cells
from tests.load.crowd import Sample


class Spread(NamedTuple):
    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(median(values), min(values), max(values))


Measure = Callable[[Sample], float]


def quantile(values: Sequence[float], share: float) -> float:
    """0 when there are none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def cpu(sample: Sample) -> float:
    """Milliseconds for 1,000 tokens."""
    return sample.cpu_per_token() * 1_000_000


def speed(sample: Sample) -> float:
    """Tokens a second."""
    return sample.tokens / sample.seconds


def first(sample: Sample) -> float:
    """Milliseconds to the first token, of half the streams."""
    return quantile(sample.first, 0.5) * 1000


def late(share: float) -> Measure:
    """Milliseconds that a token is on its way from the model to the client."""
    return lambda sample: quantile(sample.steady, share) * 1000


def gap(share: float) -> Measure:
    """Milliseconds between two tokens of a stream."""
    return lambda sample: quantile(sample.gaps, share) * 1000


def whole(share: float) -> Measure:
    """Milliseconds from the question to the end of the answer."""
    return lambda sample: quantile(sample.whole, share) * 1000


def backlog(sample: Sample) -> float:
    """Milliseconds by which tokens are later in the last third of the steady time than in the first."""
    third = max(1, len(sample.steady) // 3)
    return (quantile(sample.steady[-third:], 0.5) - quantile(sample.steady[:third], 0.5)) * 1000


def value(cells: Cells, cell: Cell, who: str, measure: Measure) -> Spread:
    return Spread.of([measure(sample) for sample in cells.samples[cell][who]])


def ratio(cells: Cells, cell: Cell, who: str, floor: str, measure: Measure) -> Spread:
    """Of the two in the same round."""
    pairs = zip(cells.samples[cell][who], cells.samples[cell][floor], strict=True)
    return Spread.of([measure(ours) / max(measure(theirs), 1e-9) for ours, theirs in pairs])

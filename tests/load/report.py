"""What came out, as tables for people and as JSON: the targets, the seed's success metrics, every figure."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests import limits
from tests.load import figures
from tests.load.alone import Alone
from tests.load.cells import DELEGATED, FAST, PACE, Cell, Cells, name
from tests.load.figures import Spread
from tests.load.subjects import FLEET, HTTPX, OPENAI

FLEET_FAST, FLEET_DELEGATED = name(FLEET, FAST), name(FLEET, DELEGATED)


@dataclass(frozen=True, slots=True)
class Row:
    """One target. `limit` is the most that is allowed; negative: the least."""

    figure: str
    limit: float
    measured: Spread
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.measured.middle <= self.limit if self.limit > 0 else self.measured.middle >= -self.limit

    def cells(self) -> Sequence[str]:
        target = f"at {'most' if self.limit > 0 else 'least'} {abs(self.limit):g}{self.unit}"
        return self.figure, target, f"{_number(self.measured.middle)}{self.unit}", _range(self.measured), _yes(self.met)


@dataclass(frozen=True)
class Report:
    cells: Cells
    alone: Alone
    store: dict[str, float]

    def targets(self) -> Iterator[Row]:
        plan, alone, store = self.cells.plan, self.alone, self.store
        busy, paced = Cell("sse", plan.busy, 0), Cell("sse", plan.busy, PACE)
        crowded = Cell("sse", plan.crowded, PACE)
        for floor, limit in ((OPENAI, 0.5), (HTTPX, 1.5)):
            for cell, how in ((paced, f"a token every {PACE} ms"), (busy, "as fast as they come")):
                title = f"CPU per 1,000 tokens, fast mode, {plan.busy} SSE streams, {how}: against {floor}"
                yield Row(title, limit, self._ratio(cell, floor, figures.cpu), " x")
        title = f"tokens/s through one process, {plan.busy} SSE streams: against {OPENAI}"
        yield Row(title, -2, self._ratio(busy, OPENAI, figures.speed), " x")
        yield Row("bytes of a token on the wire, lean", 130, _one(alone.lean))
        yield Row("bytes of a token on the wire, full", 320, _one(alone.full))
        title = f"{plan.crowded} SSE streams at {PACE} ms a token:"
        yield Row(f"{title} median time on the way", 5, self._value(crowded, figures.late(0.5)), " ms")
        yield Row(f"{title} growth of it from first to last third", 5, self._value(crowded, figures.backlog), " ms")
        yield Row(f"one run, {plan.watchers} watchers, 20 events/s", 25, _one(alone.watching * 100), " % of a core")
        yield Row("idle SSE stream", 45, _one(alone.idle_sse / 1000), " kB")
        yield Row("idle WebSocket stream", 35, _one(alone.idle_socket / 1000), " kB")
        yield Row("start to /ready, without the embedded model", 3, _one(alone.ready), " s")
        yield Row("RSS idle, without the embedded model", 130, _one(alone.resident / 1e6), " MB")
        yield Row("durable events a second", -5000, _one(store["per_second"]))
        yield Row("durable events at 1,000/s: p99 until kept", 25, _one(store["wait_p99"] * 1000), " ms")

    def metrics(self) -> Iterator[Sequence[str]]:
        """The seed's table: metric, before, target, and ours."""
        socket, sse = (max(limits.ways(limits.PACKAGE / path).values()) for path in ("web/socket.py", "web/sse.py"))
        mapping = dict(limits.functions(limits.PACKAGE / "workflows/mapping.py"))
        yield "WebSocket handler complexity", "76", "< 15", f"{socket} (its most complex function)"
        yield (
            "map_workflow_event length",
            "580 lines",
            "< 100 lines",
            f"{mapping['map_workflow_event']} lines; the longest it calls has {max(mapping.values())}",
        )
        yield "SSE stream_chat complexity", "37", "< 15", f"{sse} (its most complex function)"
        faults = f"{self.cells.faults} of {self.cells.checked:,} streams lost, doubled or reordered a token"
        yield "Concurrency issues", "1", "0", faults
        cell = Cell("sse", self.cells.plan.busy, PACE)
        for share, limit in ((0.5, 110), (0.99, 115)):
            ours = self._ratio(cell, OPENAI, figures.whole(share))
            said = f"{ours.middle:.0%} of the openai-SDK floor app ({ours.low:.0%} to {ours.high:.0%})"
            yield f"p{share * 100:.0f} latency", "Baseline", f"< {limit}%", said

    def details(self) -> Iterator[Sequence[str]]:
        """Of each cell, the service in both modes and what the floors take."""
        for cell in self.cells.samples:
            for who in self.cells.samples[cell]:
                yield (
                    cell.transport,
                    str(cell.streams),
                    f"{cell.pace} ms" if cell.pace else "fast",
                    who,
                    *(_number(self._value(cell, measure, who).middle) for measure in _MEASURES.values()),
                    *(
                        _number(figures.ratio(self.cells, cell, who, floor, figures.cpu).middle)
                        for floor in (OPENAI, HTTPX)
                    ),
                )

    def markdown(self) -> str:
        plan, alone = self.cells.plan, self.alone
        memory = [
            ("SSE", _number(alone.idle_sse / 1000), _number(alone.live_sse / 1000)),
            ("WebSocket", _number(alone.idle_socket / 1000), _number(alone.live_socket / 1000)),
        ]
        heads = ("over", "streams", "pace", "who", *_MEASURES, "CPU / openai", "CPU / httpx")
        return "\n\n".join(
            (
                f"Median of {plan.rounds} rounds, in brackets the lowest and the highest.",
                _table(("figure", "target", "measured", "spread", "met"), [row.cells() for row in self.targets()]),
                "## Success metrics",
                _table(("metric", "before", "target", "measured"), self.metrics()),
                f"## RSS by stream, kB ({plan.idle:,} idle ones, {plan.live} live ones)",
                _table(("over", "idle: a run that is silent", "live: a run of its own"), memory),
                "## All figures",
                _table(heads, self.details()),
            )
        )

    def json(self) -> str:
        whole: dict[str, Any] = {
            "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()},
            "plan": asdict(self.cells.plan),
            "targets": [
                {"figure": row.figure, "limit": row.limit, **row.measured._asdict(), "unit": row.unit, "met": row.met}
                for row in self.targets()
            ],
            "metrics": [
                dict(zip(("metric", "before", "target", "measured"), row, strict=True)) for row in self.metrics()
            ],
            "alone": asdict(self.alone),
            "store": self.store,
            "cells": [
                {
                    **asdict(cell),
                    "who": who,
                    **{title: [measure(sample) for sample in samples] for title, measure in _MEASURES.items()},
                }
                for cell, found in self.cells.samples.items()
                for who, samples in found.items()
            ],
        }
        return json.dumps(whole, indent=1)

    def _ratio(self, cell: Cell, floor: str, measure: figures.Measure) -> Spread:
        return figures.ratio(self.cells, cell, FLEET_FAST, floor, measure)

    def _value(self, cell: Cell, measure: figures.Measure, who: str = FLEET_FAST) -> Spread:
        return figures.value(self.cells, cell, who, measure)


_MEASURES: dict[str, figures.Measure] = {
    "CPU ms / 1,000 tokens": figures.cpu,
    "tokens/s": figures.speed,
    "first token ms": figures.first,
    "on the way p50 ms": figures.late(0.5),
    "on the way p99 ms": figures.late(0.99),
    "gap p50 ms": figures.gap(0.5),
    "gap p99 ms": figures.gap(0.99),
}


def _one(value: float) -> Spread:
    return Spread(value, value, value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _range(spread: Spread) -> str:
    return "" if spread.low == spread.high else f"[{_number(spread.low)} to {_number(spread.high)}]"


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""Runs carried out to be measured: how good the answers are, how long they take, and what they cost."""

import hashlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.events import StreamEvent
from agentic_fleet.learning.counting import Counting
from agentic_fleet.learning.steps import Tell
from agentic_fleet.turns import Ask, Checkpoint, Result, Turn
from agentic_fleet.workflows.fleet import Fleet
from agentic_fleet.workflows.tasks import Task


class _Nothing:
    """A run's memory that forgets: these runs are not gone on with."""

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        pass

    async def checkpoints(self) -> list[Checkpoint]:
        return []

    async def step(self, key: str) -> bytes | None:
        return None

    async def keep_step(self, key: str, value: bytes) -> None:
        pass


async def answered(fleet: Fleet, counting: Counting, tasks: Sequence[Task], tick: Tell) -> dict[str, Any]:
    """One after the other: latency is what one person waits."""
    before = (counting.calls, counting.prompt_tokens, counting.completion_tokens)
    scores: list[float] = []
    times: list[float] = []
    judges: Counter[str] = Counter()

    async def watch(event: StreamEvent) -> None:
        if event.kind == "quality" and event.data:
            judges[str(event.data.get("decided_by"))] += 1

    for at, task in enumerate(tasks):
        tick("Answering", at, len(tasks))
        began = time.perf_counter()
        turn = Turn(run_id=f"e{at}", conversation_id="evaluation", ask=Ask(message=task.task), memory=_Nothing())
        try:
            result = await fleet.run(turn, watch)
        except (ModelFailed, TimedOut):
            continue
        if isinstance(result, Result):
            scores += [] if result.quality_score is None else [result.quality_score]
            times.append(time.perf_counter() - began)
    tick("Answering", len(tasks), len(tasks))
    return {
        "tasks": identity(tasks, "answered"),
        "quality": round(statistics.mean(scores), 2) if scores else None,
        "failed": len(tasks) - len(times),
        "decided_by": dict(sorted(judges.items())),
        "median_s": round(statistics.median(times), 2) if times else None,
        "longest_s": round(max(times), 2) if times else None,
        "calls": round((counting.calls - before[0]) / len(tasks), 2),
        "prompt_tokens": _spent(counting.prompt_tokens, before[1], len(tasks)),
        "completion_tokens": _spent(counting.completion_tokens, before[2], len(tasks)),
    }


def _spent(after: int | None, before: int | None, tasks: int) -> float | None:
    return None if after is None or before is None else round((after - before) / tasks, 1)


def spread(tasks: Sequence[Task], count: int) -> list[Task]:
    """So many of them, drawn at random but always the same."""
    drawn = set(random.Random(0).sample(range(len(tasks)), min(count, len(tasks))))
    return [task for at, task in enumerate(tasks) if at in drawn]


def identity(tasks: Sequence[Task], name: str) -> dict[str, Any]:
    return {"name": name, "count": len(tasks), "sha256": hashlib.sha256(jsontext.encode(tasks)).hexdigest()}

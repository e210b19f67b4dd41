"""Getting better: what runs did is kept, scored, and told to those who can learn from it.

`bridge.py` follows runs and keeps an account of each (account.py) in the history and, as an example (examples.py), in a
file of lines; `quality.py` scores answers late and hears what humans say of them; `converter.py` turns messages into
examples and back.

`curriculum.py` gathers what there is to learn from; `optimize.py` makes better decision programs of it, by grades
(grades.py) and figures (measure.py), in a process of its own (worker.py) for which `jobs.py` cares; `evaluation.py`
and `improvement.py` are scripts/evaluate and scripts/optimize.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from agentic_fleet.learning.bridge import BridgeMiddleware
from agentic_fleet.learning.history import NoHistory, StoredHistory
from agentic_fleet.learning.lessons import ExampleFile
from agentic_fleet.learning.quality import Judge, Scores, open_scores
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store

__all__ = ["EXAMPLES", "Learning", "open_learning"]

EXAMPLES = "logs/dspy_examples.jsonl"
"""Where the examples are, in the service's folder."""


class Learning:
    """What the rest of the service needs of this room. `middleware` follows the runs, before any other."""

    def __init__(self, store: Store, scores: Scores, examples: ExampleFile, bridge: BridgeMiddleware) -> None:
        self.middleware = (bridge,)
        self.scores = scores
        self._store = store
        self._examples = examples

    async def forget(self, workflow_id: str, *, owner: str) -> None:
        """Delete an execution from the history; it teaches nothing any more. NotFound, StoreFailed."""
        await self._store.drop_execution(workflow_id, owner=owner)
        await self.unlearn([workflow_id])

    async def forget_all(self, *, owner: str) -> None:
        """The same with all of the owner's."""
        await self.unlearn(await self._store.drop_executions(owner=owner))

    async def unlearn(self, workflow_ids: Sequence[str]) -> None:
        """Runs that were forgotten teach nothing any more. Their old lines stay in the file until it is put aside
        twice, but no reader counts them."""
        await self._examples.forget(workflow_ids)


@asynccontextmanager
async def open_learning(
    settings: Settings, store: Store, judge: Judge, *, pass_score: float
) -> AsyncIterator[Learning]:
    """Opened before the runs and closed after them: it hears of their ends. `judge` and `pass_score` are the fleet's.

    With FLEET_HISTORY=off nothing is kept of new runs; their answers are scored all the same. StoreFailed.
    """
    examples = ExampleFile(settings.home / EXAMPLES, most=settings.examples_bytes)
    async with open_scores(store, judge, examples, pass_score=pass_score) as scores:
        if settings.history == "on":
            history = StoredHistory(store)
            bridge = BridgeMiddleware(history, examples=examples, told=history.told, score_later=scores.later)
        else:
            bridge = BridgeMiddleware(NoHistory(), score_later=scores.later)
        yield Learning(store, scores, examples, bridge)

"""How good answers are: scores that come after the answer, from a background of their own or from a human.

No stream waits for them: the log of a run is closed when its answer is scored late, so the score goes to the message,
the run and the history. What waits is marked in the store (`quality_pending`), so nothing is forgotten when the process
ends; the next one goes on with it.
"""

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agentic_fleet.errors import Conflict, NotFound, StoreFailed
from agentic_fleet.events import now
from agentic_fleet.executions import Quality, ScoredBy
from agentic_fleet.learning.lessons import ExampleFile
from agentic_fleet.store import Store
from agentic_fleet.turns import RunState, RunStatus
from agentic_fleet.workflows.judge import assess_by_rules, flag_of
from agentic_fleet.workflows.plans import Assessment

logger = logging.getLogger(__name__)

LAST_SCORES = 5.0
"""Seconds in which answers that wait get their scores when the service stops; the rest is scored at the next start."""
WAITING = 10_000
"""Answers that may wait in this process, by their ids; one more waits for the next start."""
AT_ONCE = 2
"""Answers scored at the same time: runs come first at the model."""
RETRY = 5.0
"""Seconds before an answer that the store would not have scored is tried again."""
NEWEST = 200
"""Messages of the conversation among which an answer is looked for."""

Thumb = Literal["up", "down"]
THUMBS: dict[Thumb, float] = {"up": 9.0, "down": 2.0}
"""The scores that thumbs stand for: well above and well below what passes, without claiming perfection or nothing."""


class Judge(Protocol):
    """Who assesses an answer: `Decisions.assess`, by the model when that can."""

    async def assess(self, task: str, answer: str) -> Assessment: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What a human says of an answer. `score` 0..10; `thumb` when they gave one instead."""

    score: float
    thumb: Thumb | None = None
    comment: str | None = None


class Scores:
    """`later` and `give` may be called from anywhere in the event loop; `open_scores` makes one."""

    def __init__(self, store: Store, judge: Judge, examples: ExampleFile, *, pass_score: float) -> None:
        self._store = store
        self._judge = judge
        self._examples = examples
        self._pass_score = pass_score
        self._waiting: MemoryObjectSendStream[str]
        self._workers: list[anyio.CancelScope] = []
        self._give_up_at = math.inf

    def later(self, run_id: str) -> None:
        """Score the run's answer, which is marked as pending, in the background."""
        try:
            self._waiting.send_nowait(run_id)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            logger.warning("an answer waits for its score until the next start")

    async def give(self, state: RunState, feedback: Feedback) -> Quality:
        """A human's word on the answer of a run that has one; it overrides every other, and the last one counts.

        Conflict when the run has not completed; NotFound when its answer is gone; StoreFailed.
        """
        if state.status is not RunStatus.COMPLETED:
            raise Conflict("The run has no answer that could be judged.")
        flag = flag_of(await self._answer(state), feedback.score, self._pass_score)
        quality = Quality(score=feedback.score, flag=flag, by="human")
        said: dict[str, Any] = {"score": feedback.score, "at": now()}
        said |= {name: text for name in ("thumb", "comment") if (text := getattr(feedback, name))}
        await self._store.score_answer(state.run_id, quality, feedback=said)
        await self._teach(state)
        return quality

    def close(self) -> None:
        """Nothing more comes. `work` ends when it has done what waits, or after LAST_SCORES."""
        self._waiting.close()
        self._give_up_at = anyio.current_time() + LAST_SCORES
        for worker in self._workers:
            worker.deadline = self._give_up_at

    async def work(self, waiting: MemoryObjectReceiveStream[str]) -> None:
        """Score what waits, until closed; also while its owner is being cancelled."""
        with anyio.CancelScope(shield=True, deadline=self._give_up_at) as worker:
            self._workers.append(worker)
            async for run_id in waiting:
                try:
                    await self._score(run_id)
                except NotFound:  # dropped meanwhile, or a human was faster
                    continue
                except StoreFailed as error:
                    logger.warning("an answer is scored later: %s", error)
                    await anyio.sleep(RETRY)
                    self.later(run_id)
                except Exception:  # one answer's boundary: the next one has nothing to do with it
                    logger.exception("an answer could not be scored")

    async def _score(self, run_id: str) -> None:
        state = await self._store.run(run_id)
        answer = await self._answer(state)
        try:
            assessment = await self._judge.assess(state.task, answer)
        except Exception as error:  # a judge's boundary: an answer must not go without a score for its sake
            logger.warning("rules score an answer instead of the judge: %s", type(error).__name__)
            assessment = assess_by_rules(state.task, answer)
        by: ScoredBy = "model" if assessment.decided_by == "model" else "rules"
        flag = flag_of(answer, assessment.score, self._pass_score)
        await self._store.score_answer(run_id, Quality(score=assessment.score, flag=flag, by=by))
        await self._teach(state)

    async def _answer(self, state: RunState) -> str:
        messages = await self._store.messages(state.conversation_id, limit=NEWEST)
        for message in reversed(messages):
            if message.workflow_id == state.run_id and message.role == "assistant":
                return message.content
        raise NotFound("There is no such answer.")

    async def _teach(self, state: RunState) -> None:
        """The example again, with what is now known of the answer. A run without a history teaches nothing."""
        try:
            execution = await self._store.execution(state.run_id, owner=state.owner)
        except NotFound:
            return
        await self._examples.add(execution)


@asynccontextmanager
async def open_scores(store: Store, judge: Judge, examples: ExampleFile, *, pass_score: float) -> AsyncIterator[Scores]:
    """Scoring in the background for the block, which begins with what an earlier process left. Leaving it takes
    LAST_SCORES at most. StoreFailed."""
    scores = Scores(store, judge, examples, pass_score=pass_score)
    scores._waiting, waiting = anyio.create_memory_object_stream[str](WAITING)
    with scores._waiting, waiting:
        async with anyio.create_task_group() as tasks:
            try:
                for run_id in await store.unscored(limit=WAITING // 2):
                    scores.later(run_id)
                for _ in range(AT_ONCE):
                    tasks.start_soon(scores.work, waiting)
                yield scores
            finally:
                scores.close()

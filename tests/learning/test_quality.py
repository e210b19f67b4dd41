"""Scores that come after the answer, and what humans say of it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import Conflict, NotFound, StoreFailed
from agentic_fleet.executions import Quality
from agentic_fleet.learning.quality import Feedback
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import Emit, Result, RunStatus, Turn
from agentic_fleet.workflows.plans import Assessment
from tests.learning.stage import stage, team
from tests.runs.reading import rest, types
from tests.script import answer, token


async def unscored(turn: Turn, emit: Emit) -> Result:
    """Answers with the task, and says nothing of how good that is."""
    await emit(token(turn.ask.message))
    return answer(turn.ask.message, score=None)


class Held:
    """A judge that waits to be released, and gives everything a 7."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.release = anyio.Event()

    async def assess(self, task: str, answer: str) -> Assessment:
        self.asked.append((task, answer))
        await self.release.wait()
        return Assessment(verdict="complete", score=7.0, decided_by="model")


async def test_an_answer_without_a_score_gets_one_after_done_and_no_event_of_it(tmp_path: Path) -> None:
    judge = Held()
    async with open_sqlite(tmp_path / "fleet.db") as store, stage(tmp_path, unscored, store=store, judge=judge) as at:
        state = await at.ask("What are tides?")
        events = await rest(await at.runs.watch(state.run_id))
        assert types(events)[-2:] == ["response.completed", "done"]
        said = (await store.messages("c1", limit=1))[0]
        assert said.content == events[-2]["message"] == "What are tides?"
        assert (said.quality_score, said.quality_pending) == (None, True)
        (example,) = at.examples()
        assert example.quality_score is None
        judge.release.set()
        execution = await at.until_scored(state.run_id)
        said = (await store.messages("c1", limit=1))[0]
        assert (said.quality_score, said.quality_flag, said.quality_pending) == (7.0, None, False)
        assert execution.quality == Quality(score=7.0, flag=None, by="model")
        assert judge.asked == [("What are tides?", "What are tides?")]
        assert await rest(await at.runs.watch(state.run_id)) == events
    (example,) = at.examples()
    assert (example.quality_score, example.corrected) == (7.0, False)


async def test_an_answer_that_has_a_score_is_not_scored_again(tmp_path: Path) -> None:
    judge = Held()
    async with stage(tmp_path, team, judge=judge) as at:
        execution = await at.done()
        said = (await at.store.messages("c1", limit=1))[0]
        assert (said.quality_score, said.quality_pending) == (8.0, False)
        await anyio.wait_all_tasks_blocked()
    assert (execution.quality.score, judge.asked) == (8.0, [])


@pytest.mark.parametrize(
    ("text", "score", "flag"),
    [
        ("", 0.0, "empty"),
        ("I'm sorry, I cannot help with that.", 3.0, "refusal"),
        ("word " * 30, 2.0, "low_confidence"),
        ("A sound answer.", 8.0, None),
    ],
)
async def test_every_answer_gets_a_score_and_a_flag(tmp_path: Path, text: str, score: float, flag: str | None) -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        return answer(text, score=None)

    async with stage(tmp_path, act) as at:
        state = await at.ask("Tell me about the tides, please")
        execution = await at.until_scored(state.run_id)
    assert execution.quality == Quality(score=score, flag=flag, by="rules")


async def test_a_judge_that_fails_is_replaced_by_rules(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def assess(self, task: str, answer: str) -> Assessment:
            raise RuntimeError(f"cannot judge {answer}")

    async with stage(tmp_path, unscored, judge=Broken()) as at:
        state = await at.ask("secret")
        execution = await at.until_scored(state.run_id)
    assert execution.quality.by == "rules"
    assert "secret" not in caplog.text


async def test_what_waits_when_the_service_stops_is_scored_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.learning.quality.LAST_SCORES", 0.02)
    store, judge = MemoryStore(), Held()
    async with stage(tmp_path, unscored, store=store, judge=judge) as at:
        states = [await at.ask(f"t{number}", f"c{number}") for number in range(5)]
        await at.runs.idle()
    assert len(await store.unscored(limit=10)) == 5
    judge.release.set()
    async with stage(tmp_path, unscored, store=store, judge=judge) as at:
        for state in states:
            assert (await at.until_scored(state.run_id)).quality.score == 7.0
    assert await store.unscored(limit=10) == []


async def test_stopping_gives_those_who_wait_their_scores_within_the_time(tmp_path: Path) -> None:
    class Slow(Held):
        async def assess(self, task: str, answer: str) -> Assessment:
            await anyio.lowlevel.checkpoint()
            return Assessment(verdict="complete", score=7.0, decided_by="model")

    store = MemoryStore()
    async with stage(tmp_path, unscored, store=store, judge=Slow()) as at:
        for number in range(20):
            await at.ask(f"t{number}", f"c{number}")
    assert await store.unscored(limit=99) == []


async def test_a_store_that_fails_delays_a_score_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentic_fleet.learning.quality.RETRY", 0.01)

    class Flaky(MemoryStore):
        fails = 3

        async def score_answer(self, *args: Any, **more: Any) -> None:
            self.fails -= 1
            if self.fails >= 0:
                raise StoreFailed("The disk is full.")
            await super().score_answer(*args, **more)

    async with stage(tmp_path, unscored, store=Flaky()) as at:
        state = await at.ask("What are tides?")
        assert (await at.until_scored(state.run_id)).quality.score == 8.0


async def test_a_conversation_dropped_before_its_score_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Held()
    async with stage(tmp_path, unscored, judge=judge) as at:
        await at.ask("a", "c1")
        other = await at.ask("b", "c2")
        await at.runs.idle()
        await at.runs.drop_conversation("c1")
        judge.release.set()
        await at.until_scored(other.run_id)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_without_a_history_answers_are_scored_all_the_same(tmp_path: Path) -> None:
    async with stage(tmp_path, unscored, history="off") as at:
        state = await at.ask("What are tides?")
        with pytest.raises(NotFound):
            await at.until_scored(state.run_id)
        assert (await at.store.messages("c1", limit=1))[0].quality_pending is False


async def test_a_human_overrides_every_score_and_the_last_word_counts(tmp_path: Path) -> None:
    async with stage(tmp_path, team) as at:
        execution = await at.done("a poem")
        state = await at.store.run(execution.workflow_id)
        await at.learning.scores.give(state, Feedback(score=9.0, thumb="up"))
        quality = await at.learning.scores.give(state, Feedback(score=1.5, comment="It does not rhyme."))
        assert quality == Quality(score=1.5, flag="low_confidence", by="human")
        after = await at.store.execution(state.run_id, owner="local")
        said = (await at.store.messages("c1", limit=1))[0]
        (example,) = at.examples()
    assert (after.quality, said.quality_score, said.quality_flag) == (quality, 1.5, "low_confidence")
    assert after.feedback is not None
    assert (after.feedback["score"], after.feedback["comment"]) == (1.5, "It does not rhyme.")
    assert "thumb" not in after.feedback
    assert (example.quality_score, example.corrected, example.comment) == (1.5, True, "It does not rhyme.")
    assert (example.agents, example.answer) == (("researcher", "writer"), "a poem")


async def test_a_score_on_its_way_does_not_take_a_humans_word_back(tmp_path: Path) -> None:
    judge = Held()
    async with stage(tmp_path, unscored, judge=judge) as at:
        execution = await at.done()
        while not judge.asked:
            await anyio.lowlevel.checkpoint()
        state = await at.store.run(execution.workflow_id)
        await at.learning.scores.give(state, Feedback(score=2.0, thumb="down"))
        judge.release.set()
        await anyio.wait_all_tasks_blocked()
        after = await at.store.execution(state.run_id, owner="local")
    assert (after.quality.score, after.quality.by) == (2.0, "human")


async def test_a_run_without_an_answer_cannot_be_judged(tmp_path: Path) -> None:
    async with stage(tmp_path, team) as at:
        execution = await at.done()
        state = await at.store.run(execution.workflow_id)
        for status in set(RunStatus) - {RunStatus.COMPLETED}:
            with pytest.raises(Conflict):
                await at.learning.scores.give(_with(state, status), Feedback(score=1.0))


def _with(state: Any, status: RunStatus) -> Any:
    return replace(state, status=status)


async def test_what_is_forgotten_teaches_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path, team) as at:
        kept = [await at.done(f"t{number}", f"c{number}") for number in range(4)]
        await at.learning.forget(kept[1].workflow_id, owner="local")
        assert [example.task for example in at.examples()] == ["t0", "t2", "t3"]
        with pytest.raises(NotFound):
            await at.learning.forget(kept[0].workflow_id, owner="ada")
        await at.learning.scores.give(await at.store.run(kept[1].workflow_id), Feedback(score=9.0))
        assert [example.task for example in at.examples()] == ["t0", "t2", "t3"]
        await at.learning.forget_all(owner="local")
        assert at.examples() == []
        assert await at.store.executions(owner="local", limit=9, offset=0) == []

"""The history: what every store promises about executions and about the scores of answers."""

from dataclasses import replace
from typing import Any

import pytest

from agentic_fleet.errors import NotFound
from agentic_fleet.executions import Execution, Quality
from agentic_fleet.store import Store
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.turns import RunStatus
from tests.store.conftest import OpenFile
from tests.store.samples import answer, records, run, start

GOOD = Quality(score=8.0, flag=None, by="model")


def execution(id: str = "run", *, at: int = 2000, **more: Any) -> Execution:
    given = {"conversation_id": None, "account": {"task": f"task of {id} \u2028", "n": [1, None, {"a": 0.5}]}, **more}
    return Execution(workflow_id=id, created_at=at, **given)


async def answered(store: Store, run_id: str = "run", *, of: str = "chat", pending: bool = True) -> None:
    """A completed run whose answer waits for its score."""
    await start(store, run_id, of=of)
    said = replace(answer(f"a-{run_id}", of=of), workflow_id=run_id, quality_pending=pending, quality_score=None)
    ended = run(run_id, of=of, status=RunStatus.COMPLETED, last_seq=1)
    await store.append(run_id, records(1, 1), state=ended, answer=said)


async def test_an_execution_comes_back_as_it_was_kept(store: Store) -> None:
    await start(store)
    kept = execution(conversation_id="chat", quality=GOOD)
    await store.keep_execution(kept)
    assert await store.execution("run", owner="local") == kept
    assert await store.executions(owner="local", limit=10, offset=0) == [kept]


async def test_one_run_has_one_execution_and_keeps_its_feedback(store: Store) -> None:
    await answered(store)
    await store.keep_execution(execution(conversation_id="chat", account={"lives": 1}))
    await store.score_answer("run", Quality(score=2.0, by="human"), feedback={"thumb": "down"})
    await store.keep_execution(execution(conversation_id="chat", account={"lives": 2}, quality=GOOD))
    (kept,) = await store.executions(owner="local", limit=10, offset=0)
    assert (kept.account, kept.quality, kept.feedback) == ({"lives": 2}, GOOD, {"thumb": "down"})


async def test_pages_have_the_newest_run_first_and_only_the_owners(store: Store) -> None:
    for number in range(5):
        await store.keep_execution(execution(f"r{number}", at=[10, 30, 20, 30, 5][number]))
    await store.keep_execution(execution("other", owner="ada", at=99))
    found = [each.workflow_id for each in await store.executions(owner="local", limit=10, offset=0)]
    assert found == ["r3", "r1", "r2", "r0", "r4"]
    page = await store.executions(owner="local", limit=2, offset=2)
    assert [each.workflow_id for each in page] == ["r2", "r0"]
    assert await store.executions(owner="local", limit=2, offset=9) == []
    assert [each.workflow_id for each in await store.executions(owner="ada", limit=9, offset=0)] == ["other"]


async def test_what_is_another_owners_is_not_there(store: Store) -> None:
    await store.keep_execution(execution(owner="ada"))
    for refused in (store.execution, store.drop_execution):
        with pytest.raises(NotFound):
            await refused("run", owner="local")
        with pytest.raises(NotFound):
            await refused("never", owner="ada")
    assert await store.drop_executions(owner="local") == []
    assert (await store.execution("run", owner="ada")).owner == "ada"


async def test_executions_can_be_forgotten_one_by_one_and_all_at_once(store: Store) -> None:
    for id in ("a", "b", "c"):
        await store.keep_execution(execution(id))
    await store.drop_execution("b", owner="local")
    with pytest.raises(NotFound):
        await store.execution("b", owner="local")
    assert sorted(await store.drop_executions(owner="local")) == ["a", "c"]
    assert await store.executions(owner="local", limit=10, offset=0) == []


async def test_a_conversation_takes_its_executions_along(store: Store) -> None:
    await answered(store)
    await store.keep_execution(execution(conversation_id="chat"))
    await store.keep_execution(execution("alone"))
    await store.drop_conversation("chat", owner="local")
    assert [each.workflow_id for each in await store.executions(owner="local", limit=9, offset=0)] == ["alone"]
    with pytest.raises(NotFound):
        await store.keep_execution(execution(conversation_id="chat"))


async def test_a_late_score_reaches_message_run_and_execution_once(store: Store) -> None:
    await answered(store)
    await store.keep_execution(execution(conversation_id="chat"))
    assert await store.unscored(limit=10) == ["run"]
    low = Quality(score=3.0, flag="low_confidence", by="rules")
    await store.score_answer("run", low)
    said = (await store.messages("chat", limit=1))[0]
    assert (said.quality_score, said.quality_flag, said.quality_pending) == (3.0, "low_confidence", False)
    assert (await store.run("run")).quality_score == 3.0
    assert (await store.execution("run", owner="local")).quality == low
    assert await store.unscored(limit=10) == []
    with pytest.raises(NotFound):
        await store.score_answer("run", GOOD)


async def test_a_human_has_the_last_word_and_may_change_it(store: Store) -> None:
    await answered(store)
    await store.keep_execution(execution(conversation_id="chat"))
    for score in (2.0, 9.0):
        await store.score_answer("run", Quality(score=score, by="human"), feedback={"score": score})
    with pytest.raises(NotFound):
        await store.score_answer("run", GOOD)  # it was on its way when the human was faster
    kept = await store.execution("run", owner="local")
    assert (kept.quality.score, kept.quality.by, kept.feedback) == (9.0, "human", {"score": 9.0})
    assert (await store.messages("chat", limit=1))[0].quality_score == 9.0


async def test_an_answer_is_scored_without_an_execution_too_and_no_other_message_is(store: Store) -> None:
    await answered(store, "one", of="c1")
    await answered(store, "two", of="c2")
    await store.score_answer("one", Quality(score=4.0, by="rules"))
    assert [message.quality_score for message in await store.messages("c1", limit=9)] == [None, 4.0]
    assert [message.quality_score for message in await store.messages("c2", limit=9)] == [None, None]
    assert await store.unscored(limit=9) == ["two"]


@pytest.mark.parametrize("by", ["human", "rules"])
async def test_a_run_without_an_answer_has_nothing_to_score(store: Store, by: Any) -> None:
    await start(store)
    for run_id in ("run", "never"):
        with pytest.raises(NotFound):
            await store.score_answer(run_id, Quality(score=1.0, by=by))
    assert (await store.run("run")).quality_score is None


async def test_the_oldest_answers_are_scored_first(store: Store) -> None:
    for number in range(4):
        await answered(store, f"r{number}", of=f"c{number}", pending=number != 1)
    assert await store.unscored(limit=2) == ["r0", "r2"]


async def test_the_history_outlives_the_process(file: OpenFile, path: Any) -> None:
    await file.store.keep_execution(execution(quality=GOOD))
    async with open_sqlite(path) as again:
        assert await again.execution("run", owner="local") == execution(quality=GOOD)


async def test_pages_and_scores_need_no_walk_over_everything(file: OpenFile) -> None:
    await answered(file.store)

    def plan(sql: str) -> Any:
        return lambda db: [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]

    queries = {
        "executions_by_time": "SELECT * FROM executions WHERE owner = 'a' ORDER BY created_at DESC LIMIT 9",
        "unscored_messages": "SELECT workflow_id FROM messages WHERE quality_pending = 1 ORDER BY position LIMIT 9",
        "messages_of_conversation": """UPDATE messages SET quality_score = 1 WHERE role = 'assistant'
            AND conversation_id = (SELECT conversation_id FROM runs WHERE run_id = 'r') AND workflow_id = 'r'""",
    }
    for index, sql in queries.items():
        details = await file.writer.write(plan(sql))
        assert index in details[0], details

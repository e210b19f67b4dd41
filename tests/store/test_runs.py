"""What every store promises about runs, their events and idempotency keys."""

from dataclasses import replace

import anyio
import pytest

from agentic_fleet.conversations import Conversation
from agentic_fleet.errors import Conflict, KeyReused, NotFound, StoreFailed
from agentic_fleet.store import KEY_LIFETIME, IdempotencyKey, Store
from agentic_fleet.turns import LIVE, RunStatus
from tests.faults.table import row
from tests.store.samples import answer, conversation, question, records, run, start


async def test_a_run_is_kept_with_its_question(store: Store) -> None:
    await store.add_conversation(conversation("chat"))
    given = run(mode="parallel", status=RunStatus.RUNNING, started_at=5, error="so far", quality_score=0.5)
    assert await store.add_run(given, question("q")) == given
    assert await store.run("run") == given
    assert await store.messages("chat", limit=10) == [question("q")]


async def test_a_run_needs_its_conversation(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.add_run(run(), question("q"))
    with pytest.raises(NotFound):
        await store.run("run")
    assert await store.messages("chat", limit=10) == []


async def test_a_run_may_make_its_conversation(store: Store) -> None:
    await store.add_run(run(), question("q"), create=True)
    made = await store.conversation("chat", owner="local")
    assert made == Conversation(
        id="chat", title="New Chat", created_at=2000, updated_at=2000, messages=(question("q"),)
    )


async def test_a_run_that_may_make_its_conversation_keeps_the_one_there_is(store: Store) -> None:
    await store.add_conversation(conversation("chat"))
    await store.add_run(run(), question("q"), create=True)
    assert (await store.conversation("chat", owner="local")).title == "About chat"


@pytest.mark.parametrize("status", sorted(set(RunStatus) - LIVE))
async def test_a_run_that_is_over_makes_room_for_the_next(store: Store, status: RunStatus) -> None:
    await start(store)
    await store.append("run", [], state=run(status=status))
    await start(store, "second")
    assert (await store.run("second")).status is RunStatus.CREATED


async def test_a_run_cannot_come_back_to_life_beside_another(store: Store) -> None:
    await start(store, status=RunStatus.INTERRUPTED)
    await start(store, "second")
    with pytest.raises(Conflict):
        await store.append("run", records(1, 1), state=run(status=RunStatus.RUNNING, last_seq=1))
    assert (await store.run("run")).status is RunStatus.INTERRUPTED
    assert await store.events("run", after=0, limit=10) == []


async def test_of_many_who_start_at_once_one_wins(store: Store) -> None:
    await store.add_conversation(conversation("chat"))
    outcomes: list[str] = []

    async def try_to_start(number: int) -> None:
        try:
            await store.add_run(run(f"run{number}"), question(f"q{number}"))
            outcomes.append("kept")
        except Conflict:
            outcomes.append("refused")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(try_to_start, number)
    assert sorted(outcomes) == ["kept"] + 19 * ["refused"]
    assert len(await store.messages("chat", limit=100)) == 1


async def test_a_run_is_not_added_twice(store: Store) -> None:
    await start(store, status=RunStatus.COMPLETED)
    with pytest.raises(StoreFailed):
        await store.add_run(run(), question("other"))
    assert (await store.run("run")).status is RunStatus.COMPLETED
    assert len(await store.messages("chat", limit=10)) == 1


async def test_the_same_request_starts_one_run(store: Store) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    await store.add_run(run(), question("q"), key=key, create=True)
    await store.append("run", records(1, 3), state=run(status=RunStatus.RUNNING, last_seq=3))
    again = await store.add_run(run("second", of="elsewhere"), question("q2", of="elsewhere"), key=key, create=True)
    assert (again.run_id, again.status, again.last_seq) == ("run", RunStatus.RUNNING, 3)
    assert [chat.id for chat in await store.conversations(owner="local", limit=10, offset=0)] == ["chat"]
    assert len(await store.messages("chat", limit=10)) == 1


async def test_a_key_with_another_request_is_refused(store: Store) -> None:
    await store.add_run(run(), question("q"), key=IdempotencyKey(key="k", fingerprint="f"), create=True)
    with pytest.raises(KeyReused):
        await store.add_run(
            run("second", of="b"), question("q2", of="b"), key=IdempotencyKey(key="k", fingerprint="g"), create=True
        )
    with pytest.raises(NotFound):
        await store.conversation("b", owner="local")


async def test_a_key_of_a_refused_run_is_free(store: Store) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    with pytest.raises(NotFound):
        await store.add_run(run("second"), question("q"), key=key)
    assert (await store.add_run(run(), question("q"), key=key, create=True)).run_id == "run"


@pytest.mark.parametrize(("later", "started"), [(KEY_LIFETIME - 1, "run"), (KEY_LIFETIME, "second")])
async def test_a_key_is_remembered_for_its_lifetime(store: Store, later: int, started: str) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    await store.add_run(run(at=2000), question("q"), key=key, create=True)
    second = run("second", of="b", at=2000 + later)
    assert (await store.add_run(second, question("q2", of="b"), key=key, create=True)).run_id == started


async def test_events_are_read_from_a_cursor_in_pages(store: Store) -> None:
    await start(store)
    await store.append("run", records(1, 4), state=run(last_seq=4))
    await store.append("run", records(5, 5), state=run(last_seq=5))
    assert await store.events("run", after=0, limit=100) == records(1, 5)
    assert await store.events("run", after=2, limit=2) == records(3, 4)
    assert await store.events("run", after=5, limit=100) == []
    assert await store.events("unknown", after=0, limit=100) == []


async def test_the_state_after_the_events_is_kept_with_them(store: Store) -> None:
    begun = await start(store)
    after = replace(
        begun,
        status=RunStatus.FAILED,
        started_at=2001,
        completed_at=2009,
        last_seq=2,
        error="The model was silent.",
        quality_score=3.25,
    )
    await store.append("run", records(1, 2), state=after)
    assert await store.run("run") == after


async def test_an_event_is_never_written_over(store: Store) -> None:
    await start(store)
    await store.append("run", records(1, 3), state=run(last_seq=3))
    with pytest.raises(StoreFailed):
        await store.append("run", records(3, 4), state=run(status=RunStatus.FAILED, last_seq=4), answer=answer("a"))
    assert await store.events("run", after=0, limit=100) == records(1, 3)
    assert await store.run("run") == run(last_seq=3)
    assert len(await store.messages("chat", limit=10)) == 1


async def test_an_answer_is_not_kept_twice_nor_what_came_with_it(store: Store) -> None:
    await start(store)
    await store.append("run", records(1, 1), state=run(last_seq=1), answer=answer("a"))
    with pytest.raises(StoreFailed):
        await store.append("run", records(2, 2), state=run(last_seq=2), answer=answer("a"))
    assert (await store.run("run")).last_seq == 1
    assert await store.events("run", after=1, limit=100) == []


async def test_events_of_an_unknown_run_are_refused(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.append("run", records(1, 1), state=run())
    assert await store.events("run", after=0, limit=100) == []


async def test_that_done_was_read_is_known_until_the_run_lives_again(store: Store) -> None:
    await start(store)
    await store.append("run", records(1, 1), state=run(last_seq=1, status=RunStatus.FAILED))
    await store.mark_done_read("run")
    await store.append("run", [], state=run(last_seq=1, status=RunStatus.FAILED, done_read=False))
    assert (await store.run("run")).done_read
    await store.append("run", records(2, 2), state=run(last_seq=2, done_read=True))
    assert not (await store.run("run")).done_read


async def test_marking_an_unknown_run_is_ignored(store: Store) -> None:
    await store.mark_done_read("nobody")
    assert await store.runs(limit=10) == []


async def test_runs_come_newest_first_and_can_be_filtered(store: Store) -> None:
    done, failed = RunStatus.COMPLETED, RunStatus.FAILED
    await start(store, "r2", of="a", at=2000, status=done)
    await start(store, "r1", of="a", at=1000, status=failed)  # the clock was set back
    await start(store, "r3", of="b", at=3000, status=done)
    await start(store, "r2b", of="b", at=2000)

    async def found(statuses: set[RunStatus] | None = None, chat: str | None = None) -> list[str]:
        return [kept.run_id for kept in await store.runs(statuses=statuses, conversation_id=chat, limit=10)]

    assert await found() == ["r3", "r2b", "r2", "r1"]
    assert await found(chat="a") == ["r1", "r2"]
    assert await found({done}) == ["r3", "r2"]
    assert await found({done, failed}, "a") == ["r1", "r2"]
    assert await found(set()) == []
    assert [kept.run_id for kept in await store.runs(limit=2, offset=1)] == ["r2b", "r2"]


async def test_a_failing_call_does_not_spoil_its_neighbours(store: Store) -> None:
    await start(store)
    refused: list[int] = []

    async def append(seq: int) -> None:
        try:
            await store.append("gone" if seq % 5 == 0 else "run", records(seq, seq), state=run(last_seq=seq))
        except NotFound:
            refused.append(seq)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for seq in range(1, 51):
                tasks.start_soon(append, seq)
    kept = [record.seq for record in await store.events("run", after=0, limit=100)]
    assert sorted(refused) == list(range(5, 51, 5))
    assert kept == [seq for seq in range(1, 51) if seq % 5]


async def test_tokens_move_the_end_of_the_log_and_leave_the_run_as_it_was(store: Store) -> None:
    started = await start(store)
    await store.append("run", records(1, 1), state=replace(started, status=RunStatus.RUNNING, last_seq=1))
    await store.append_tokens([("run", records(2, 300))])
    assert await store.run("run") == replace(started, status=RunStatus.RUNNING, last_seq=300)
    assert await store.events("run", after=0, limit=500) == records(1, 300)


@pytest.mark.parametrize(("bad", "error"), [("gone", NotFound), ("twice", StoreFailed)])
async def test_tokens_of_several_runs_are_kept_all_or_none(store: Store, bad: str, error: type[Exception]) -> None:
    for run_id in ("run", "twice"):
        await start(store, run_id, of=run_id)
    await store.append_tokens([("twice", records(1, 1))])
    with pytest.raises(error):
        await store.append_tokens([("run", records(1, 100)), (bad, records(1, 3))])
    assert await store.events("run", after=0, limit=500) == []
    await store.append_tokens([("run", records(1, 100)), ("twice", records(2, 3))])
    assert await store.events("run", after=0, limit=500) == records(1, 100)
    assert await store.events("twice", after=0, limit=5) == records(1, 3)


async def test_a_store_that_works_answers_a_ping_and_is_as_before(store: Store) -> None:
    await start(store)
    await store.ping()
    assert await store.run("run") == run()
    assert await store.conversations(owner="local", limit=10, offset=0) == [
        Conversation(id="chat", title="New Chat", created_at=2000, updated_at=2000)
    ]


async def test_a_conversation_and_its_runs_are_their_owners(store: Store) -> None:
    await start(store, "a", of="hers", owner="alice")
    await start(store, "b", of="his", owner="bob")
    with pytest.raises(NotFound):
        await start(store, "c", of="hers", owner="bob")
    with pytest.raises(NotFound):
        await store.add_run(run("d", of="hers", owner="bob"), question("q-d", of="hers"))
    for what in (store.conversation("hers", owner="bob"), store.drop_conversation("hers", owner="bob")):
        with pytest.raises(NotFound):
            await what
    assert [each.id for each in await store.conversations(owner="bob", limit=9, offset=0)] == ["his"]
    assert [each.run_id for each in await store.runs(owner="alice", limit=9)] == ["a"]
    assert {each.run_id for each in await store.runs(limit=9)} == {"a", "b"}
    assert (await store.run("a")).owner == (await store.conversation("hers", owner="alice")).owner == "alice"


@row(40)
async def test_an_idempotency_key_is_its_owners(store: Store) -> None:
    key = IdempotencyKey(key="k", fingerprint="f")
    for owner in ("alice", "bob", "alice"):
        new = run(f"run-{owner}", of=owner, owner=owner)
        asked = question(f"q-{owner}", of=owner)
        assert (await store.add_run(new, asked, key=key, create=True)).run_id == f"run-{owner}"

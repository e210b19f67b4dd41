"""What the embedded store promises beyond the contract: grouping, durability, restarts."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from agentic_fleet.errors import Conflict, StoreFailed
from agentic_fleet.events import Record
from agentic_fleet.store import IdempotencyKey
from agentic_fleet.store.connection import savepoint
from agentic_fleet.store.reader import open_reader
from agentic_fleet.store.schema import MIGRATIONS
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.store.writer import Writer, open_writer
from agentic_fleet.turns import Ask, PendingRequest, RunStatus
from tests.store.conftest import OpenFile
from tests.store.samples import answer, append, checkpoint, conversation, question, records, run, start


async def test_fifty_appends_at_once_share_a_few_transactions(file: OpenFile) -> None:
    for number in range(50):
        await start(file.store, f"run{number}", of=f"chat{number}")
    seen = await file.statements()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(append, file.store, 1, f"run{number}")
    assert 1 <= seen.count("COMMIT") <= 3
    for number in range(50):
        assert await file.store.events(f"run{number}", after=0, limit=10) == records(1, 1)


async def test_more_callers_than_the_queue_holds_all_get_their_turn(file: OpenFile) -> None:
    await start(file.store)
    seen = await file.statements()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for seq in range(1, 1301):
                tasks.start_soon(append, file.store, seq)
    assert await file.store.events("run", after=0, limit=2000) == records(1, 1300)
    assert 3 <= seen.count("COMMIT") <= 6  # batches are bounded


async def test_tokens_alone_are_kept_in_one_statement(file: OpenFile) -> None:
    for number in range(20):
        await start(file.store, f"run{number}", of=f"chat{number}")
    await file.store.append_tokens([("run0", records(1, 1))])
    seen = await file.statements()
    seen.clear()
    await file.store.append_tokens([(f"run{number}", records(2, 4)) for number in range(20)])
    assert [text.partition(" (")[0] for text in seen] == ["INSERT INTO events"]


async def test_tokens_beside_other_work_share_its_transaction_and_do_not_spoil_it(file: OpenFile) -> None:
    await start(file.store)
    seen = await file.statements()
    seen.clear()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(file.store.append_tokens, [("run", records(1, 200))])
            tasks.start_soon(file.store.keep_step, "run", "a", b"one")
            with pytest.raises(StoreFailed):
                await file.store.append_tokens([("run", [*records(300, 400), *records(400, 400)])])
    assert seen.count("COMMIT") == 1
    assert await file.store.steps("run") == {"a": b"one"}
    assert await file.store.events("run", after=0, limit=500) == records(1, 200)


async def test_work_that_makes_do_without_a_transaction_leaves_none_open(file: OpenFile) -> None:
    def cannot_be_committed(db: sqlite3.Connection) -> None:
        with savepoint(db):
            db.execute("PRAGMA defer_foreign_keys = ON")
            db.execute("INSERT INTO events VALUES (1, 404, 1, x'')")

    await start(file.store)
    with pytest.raises(StoreFailed):
        await file.writer.write(cannot_be_committed, whole=True)
    await file.store.append_tokens([("run", records(1, 1))])
    assert await file.store.events("run", after=0, limit=5) == records(1, 1)


async def test_only_beginnings_and_endings_wait_for_the_disk(file: OpenFile) -> None:
    seen = await file.statements()

    async def levels() -> list[str]:
        found = [text.removeprefix("PRAGMA synchronous = ") for text in seen if "synchronous" in text]
        seen.clear()
        return found

    await file.store.add_conversation(conversation())
    assert await levels() == ["FULL"]
    await file.store.ping()
    assert await levels() == ["NORMAL"]
    await file.store.add_run(run(), question("q"))
    assert await levels() == ["FULL"]
    for seq in (1, 2):
        await file.store.append("run", records(seq, seq), state=run(status=RunStatus.RUNNING, last_seq=seq))
    assert await levels() == ["NORMAL"]
    await file.store.keep_step("run", "a", b"one")
    await file.store.keep_checkpoint("run", checkpoint())
    assert await levels() == []
    await file.store.append("run", records(3, 3), state=run(status=RunStatus.COMPLETED, last_seq=3))
    assert await levels() == ["FULL"]


async def test_the_level_of_durability_is_in_force_within_the_transaction(file: OpenFile) -> None:
    def level(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA synchronous").fetchone()[0])

    assert await file.writer.write(level) == 1
    assert await file.writer.write(level, durable=True) == 2
    assert await file.writer.write(level) == 1


async def test_a_ping_really_writes(file: OpenFile, path: Path) -> None:
    wal = anyio.Path(path.with_name(path.name + "-wal"))
    before = (await wal.stat()).st_size
    await file.store.ping()
    assert (await wal.stat()).st_size > before


async def test_after_a_restart_everything_is_there(path: Path) -> None:
    async with open_sqlite(path) as store:
        await start(store)
        over = run(status=RunStatus.COMPLETED, last_seq=3)
        await store.append("run", records(1, 3), state=over, answer=answer("a"))
        kept = await store.conversation("chat", owner="local")
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # no log file is left beside it
    async with open_sqlite(path) as store:
        assert await store.conversation("chat", owner="local") == kept
        assert await store.run("run") == over
        assert await store.events("run", after=0, limit=10) == records(1, 3)
        with pytest.raises(Conflict):
            await store.add_conversation(conversation())


async def test_after_a_restart_a_run_can_go_on(path: Path) -> None:
    ask = Ask(message="Why?", mode="parallel", require_plan_approval=True)
    request = PendingRequest(request_id="r", request_type="PlanReview", request={"plan": ["a", {"b": None}]})
    async with open_sqlite(path) as store:
        state = await start(store, ask=ask)
        state = replace(state, status=RunStatus.SUSPENDED, pending_requests=(request,), answers={"q": [1, "\u2028"]})
        await store.append("run", [], state=state)
        await store.keep_step("run", "a", b"one")
        await store.keep_checkpoint("run", checkpoint())
    async with open_sqlite(path) as store:
        assert await store.run("run") == state
        assert await store.steps("run") == {"a": b"one"}
        assert await store.checkpoints("run") == [checkpoint()]


async def test_a_file_of_the_first_version_is_brought_up_to_date_with_its_runs(path: Path) -> None:
    with closing(sqlite3.connect(path)) as first:
        for statement in MIGRATIONS[0]:
            first.execute(statement)
        first.execute("PRAGMA user_version = 1")
        first.execute("INSERT INTO conversations VALUES (1, 'chat', 'About chat', 1000, 2000)")
        first.execute("""INSERT INTO messages VALUES
            (1, 'q-run', 'chat', 'user', 'Why?', 2000, NULL, NULL, NULL, NULL, NULL, 0)""")
        first.execute("""INSERT INTO runs VALUES
            (1, 'run', 'chat', 'Why?', 'auto', 'running', 2000, 2001, NULL, 1, NULL, NULL, 0)""")
        first.execute("INSERT INTO events VALUES ('run', 1, x'7b7d')")
        first.execute("INSERT INTO idempotency_keys VALUES ('key', 'f', 'run', 2000)")
        first.commit()
    old = run(status=RunStatus.RUNNING, started_at=2001, last_seq=1)
    async with open_sqlite(path) as store:
        assert await store.run("run") == old
        assert (old.ask, old.pending_requests, old.answers) == (None, (), {})
        assert await store.events("run", after=0, limit=10) == [Record(1, b"{}")]
        assert [message.content for message in await store.messages("chat", limit=10)] == ["Why?"]
        assert [each.id for each in await store.conversations(owner="local", limit=9, offset=0)] == ["chat"]
        retry = IdempotencyKey(key="key", fingerprint="f")
        assert await store.add_run(run("retry"), question("q-retry"), key=retry) == old
        with pytest.raises(Conflict):
            await start(store, "second")
        await store.keep_step("run", "a", b"one")
        await store.keep_checkpoint("run", checkpoint())
        waiting = replace(old, status=RunStatus.WAITING, last_seq=2, answers={"r": True})
        await store.append("run", records(2, 2), state=waiting)
        assert await store.run("run") == waiting
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchall() == [(len(MIGRATIONS),)]


async def test_a_closed_store_refuses(path: Path) -> None:
    async with open_sqlite(path) as store:
        await start(store)
    with pytest.raises(StoreFailed, match=r"^The store is closed\.$"):
        await store.ping()
    with pytest.raises(StoreFailed):
        await store.run("run")


async def test_leaving_finishes_what_waits(path: Path) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            async with open_sqlite(path) as store:
                await start(store)
                for seq in range(1, 101):
                    tasks.start_soon(append, store, seq)
                await anyio.wait_all_tasks_blocked()
    async with open_sqlite(path) as store:
        assert await store.events("run", after=0, limit=200) == records(1, 100)


async def test_what_still_waits_when_patience_ends_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    async def expect_refusal(writer: Writer) -> None:
        with pytest.raises(StoreFailed, match=r"^The store is closed\.$"):
            await writer.write(lambda db: None)

    async def open_gate_when_closing() -> None:
        await anyio.wait_all_tasks_blocked()
        monkeypatch.undo()
        gate.set()

    monkeypatch.setattr("agentic_fleet.store.writer.CLOSE_TIMEOUT", 0)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, open_writer(path) as writer:
            tasks.start_soon(writer.write, lambda db: gate.wait(5))
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(expect_refusal, writer)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(open_gate_when_closing)


async def test_closing_empties_the_log_into_the_file_even_while_others_have_it_open(path: Path) -> None:
    async with open_sqlite(path) as store:
        await start(store)
        other = sqlite3.connect(path)
        assert other.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]
    wal = anyio.Path(path.with_name(path.name + "-wal"))
    assert (await wal.stat()).st_size == 0
    other.close()


async def test_a_run_that_is_cancelled_with_the_store_can_still_write_its_last_event(path: Path) -> None:
    with anyio.fail_after(5), anyio.CancelScope() as everything:
        async with open_sqlite(path) as store:
            await start(store)
            everything.cancel()
            with anyio.CancelScope(shield=True):
                await store.append("run", records(1, 1), state=run(status=RunStatus.CANCELLED, last_seq=1))
    async with open_sqlite(path) as store:
        assert (await store.run("run")).status is RunStatus.CANCELLED


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(StoreFailed, match="newer version"):
        async with open_sqlite(path):
            pass
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchall() == [(newer,)]
        assert other.execute("SELECT * FROM sqlite_schema").fetchall() == []


async def test_a_migration_that_fails_leaves_no_trace(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_sqlite(path) as store:
        await start(store)
    broken = (*MIGRATIONS, ("CREATE TABLE half (a)", "INSERT INTO nowhere VALUES (1)"))
    with monkeypatch.context() as patch, pytest.raises(StoreFailed):
        patch.setattr("agentic_fleet.store.schema.MIGRATIONS", broken)
        async with open_sqlite(path):
            pass
    async with open_sqlite(path) as store:
        assert await store.run("run") == run()


async def test_a_file_that_is_no_database_is_refused_without_its_name(path: Path) -> None:
    await anyio.Path(path).write_text("no database" * 1000)
    with pytest.raises(StoreFailed) as failure:
        async with open_sqlite(path):
            pass
    assert str(failure.value) == "The database failed."


async def test_the_reader_cannot_write(file: OpenFile, path: Path) -> None:
    async with open_reader(path) as reader:
        with pytest.raises(StoreFailed):
            await reader.read(lambda db: db.execute("DELETE FROM conversations"))


async def test_a_mistake_in_one_job_is_its_callers_and_nobody_elses(file: OpenFile) -> None:
    def mistake(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO conversations (id, title, created_at, updated_at) VALUES ('half', '', 1, 1)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await file.writer.write(mistake)
    await file.store.add_conversation(conversation("half"))

"""The embedded store when the medium fails: locked, full, killed."""

import asyncio  # noqa: TID251  # to cancel as the framework does
import logging
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from agentic_fleet.errors import StoreFailed
from agentic_fleet.events import Record
from agentic_fleet.store.reader import open_reader
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.store.writer import open_writer
from tests.faults.table import row
from tests.store.conftest import OpenFile
from tests.store.samples import append, records, run, start

ROOT = Path(__file__).parents[2]


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection holds the write lock; committing frees it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@row(37)
async def test_a_caller_waits_for_a_lock_and_readers_do_not(file: OpenFile, path: Path) -> None:
    await start(file.store)
    with anyio.fail_after(5), locked(path) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(append, file.store, 1)
            await anyio.wait_all_tasks_blocked()
            assert await file.store.events("run", after=0, limit=10) == []
            other.execute("COMMIT")
    assert await file.store.events("run", after=0, limit=10) == records(1, 1)


async def test_what_two_processes_write_is_there_for_both(path: Path) -> None:
    async with open_sqlite(path) as one, open_sqlite(path) as other:
        await start(one)
        await append(other, 1)
        await append(one, 2)
        assert await other.events("run", after=0, limit=10) == records(1, 2)


@row(37)
async def test_a_lock_that_is_not_freed_is_a_failure_of_the_whole_batch_and_then_over(
    file: OpenFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await start(file.store)
    await file.pragma("busy_timeout = 20")
    failures: list[str] = []

    async def try_to_append(seq: int) -> None:
        with pytest.raises(StoreFailed) as failure:
            await append(file.store, seq)
        failures.append(str(failure.value))

    with anyio.fail_after(5), locked(path), caplog.at_level(logging.WARNING):
        with pytest.raises(StoreFailed):
            await file.store.ping()
        async with anyio.create_task_group() as tasks:
            for seq in range(1, 11):
                tasks.start_soon(try_to_append, seq)
    assert failures == 10 * ["The database is locked by another process."]
    assert 2 <= len(caplog.records) <= 4  # once per transaction, not once per caller
    await append(file.store, 1)
    assert await file.store.events("run", after=0, limit=100) == records(1, 1)


async def test_a_commit_that_fails_fails_its_batch_and_leaves_nothing(file: OpenFile) -> None:
    await start(file.store)

    def break_commit(db: sqlite3.Connection) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        db.execute("INSERT INTO events VALUES (1, 404, 1, x'')")

    with pytest.raises(StoreFailed, match=r"^The database failed\.$"):
        await file.writer.write(break_commit)
    assert await file.store.events("orphan", after=0, limit=10) == []
    await append(file.store, 1)
    assert await file.store.events("run", after=0, limit=10) == records(1, 1)


async def test_a_caller_that_leaves_stops_waiting_and_nobody_else_does(file: OpenFile, path: Path) -> None:
    await start(file.store)
    with anyio.fail_after(5), locked(path) as other:
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as impatient:
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(append, file.store, 1)
                    await anyio.wait_all_tasks_blocked()
                    leaving.start_soon(append, file.store, 2)
                    tasks.start_soon(append, file.store, 3)
                    await anyio.wait_all_tasks_blocked()
                    impatient.cancel()
            assert impatient.cancelled_caught  # while the lock is still held
            other.execute("COMMIT")
        await file.store.ping()
    kept = await file.store.events("run", after=0, limit=10)
    assert kept == records(3, 3)  # an append that was cancelled while it waited has not happened


async def test_an_append_that_is_cancelled_when_it_is_too_late_has_happened_and_says_so(file: OpenFile) -> None:
    await start(file.store)
    begun, go_on = threading.Event(), threading.Event()

    def neighbour(db: sqlite3.Connection) -> None:
        begun.set()
        go_on.wait(5)

    impatient, outcomes = anyio.CancelScope(), list[str]()

    async def leave_too_late() -> None:
        with impatient:
            await append(file.store, 1)
            outcomes.append("kept")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_too_late)
            tasks.start_soon(file.writer.write, neighbour)  # in the same transaction, behind it
            await anyio.to_thread.run_sync(begun.wait)
            impatient.cancel()
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert outcomes == ["kept"]
    assert await file.store.events("run", after=0, limit=10) == records(1, 1)


async def test_a_reader_that_asyncio_cancels_leaves_the_others_their_answers(path: Path) -> None:
    begun = threading.Event()

    def lengthy(db: sqlite3.Connection) -> None:
        begun.set()
        threading.Event().wait(0.2)  # the next query comes meanwhile

    async with open_writer(path), open_reader(path) as reader:
        with anyio.fail_after(5):
            reading = asyncio.create_task(reader.read(lengthy))
            await anyio.to_thread.run_sync(begun.wait)
            reading.cancel()  # no shield of anyio stops it: the task is gone, its thread is not
            await asyncio.wait([reading])
            assert await reader.read(lambda db: db.execute("SELECT 1").fetchone()[0]) == 1


@row(36)
async def test_a_full_disk_fails_the_writer_spares_the_readers_and_may_pass(file: OpenFile) -> None:
    await start(file.store)
    await append(file.store, 1)
    used = await file.writer.write(lambda db: int(db.execute("PRAGMA page_count").fetchone()[0]))
    await file.pragma(f"max_page_count = {used}")
    big = [Record(2, b"x" * 1_000_000)]
    with pytest.raises(StoreFailed, match=r"^The disk is full\.$"):
        await file.store.append("run", big, state=run(last_seq=2))
    assert await file.store.run("run") == run(last_seq=1)
    assert await file.store.events("run", after=0, limit=10) == records(1, 1)
    await file.pragma("max_page_count = 1000000")
    await file.store.append("run", big, state=run(last_seq=2))
    assert await file.store.events("run", after=1, limit=10) == big


@row(36)
async def test_a_disk_that_takes_no_more_bytes_shows_in_a_ping(path: Path) -> None:
    with anyio.fail_after(10):
        done = await anyio.run_process([sys.executable, "-m", "tests.store.no_more_bytes", path], cwd=ROOT)
    assert done.stdout.decode().splitlines() == [
        "The database failed.",
        "run kept 1 events",
        "The database works.",
    ]


@row(32)
@pytest.mark.parametrize("acknowledged", [1, 7, 60, 400])
async def test_a_killed_process_loses_nothing_it_has_acknowledged(path: Path, acknowledged: int) -> None:
    for _ in range(2):  # the second goes on where the first was killed
        last = await _killed_after(path, acknowledged)
        async with open_sqlite(path) as store:
            for run_id, seq in last.items():
                state = await store.run(run_id)
                kept = await store.events(run_id, after=0, limit=100_000)
                assert [record.seq for record in kept] == list(range(1, state.last_seq + 1))
                assert state.last_seq >= seq
                names = [str(record.seq) for record in kept]
                steps = await store.steps(run_id)
                assert steps == {name: name.encode() for name in steps}
                assert steps.keys() >= set(names)
                assert [each.checkpoint_id for each in await store.checkpoints(run_id)][: len(names)] == names
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def _killed_after(path: Path, acknowledged: int) -> dict[str, int]:
    """The last sequence number each run was told is kept, from a process killed after some such words."""
    last: dict[str, int] = {}
    rest, killed = "", False
    command: list[str | Path] = [sys.executable, "-m", "tests.store.appender", path]
    with anyio.fail_after(10):
        async with await anyio.open_process(command, cwd=ROOT) as child:
            assert child.stdout is not None
            async for text in TextReceiveStream(child.stdout):
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    run_id, seq = line.split()
                    last[run_id] = int(seq)
                    acknowledged -= 1
                if acknowledged <= 0 and not killed:
                    child.kill()
                    killed = True
            assert await child.wait() == -9
    return last

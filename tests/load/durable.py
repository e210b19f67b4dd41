"""The store alone: how many events it keeps, and how soon it says so. `python -m tests.load.durable FOLDER SECONDS`."""

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from agentic_fleet.conversations import Conversation, Message, new_id
from agentic_fleet.events import Record, StreamEvent, StreamEventType, encode_event, now
from agentic_fleet.store.sqlite import SqliteStore, open_sqlite
from agentic_fleet.turns import RunState, RunStatus
from tests.load.figures import quantile

WRITERS = 50
"""Runs that write at the same time."""
RATE = 1000
"""Events a second, for all of them together, at which the waiting is measured."""


class Writing:
    """One run that appends one event after the other."""

    def __init__(self, store: SqliteStore, state: RunState) -> None:
        self._store = store
        self._state = state
        self.waits: list[float] = []  # seconds

    async def write(self, until: float, pause: float = 0.0) -> None:
        """`pause` is from one beginning to the next; `until` and all times are those of the event loop."""
        due = anyio.current_time()
        event = StreamEvent(type=StreamEventType.RESPONSE_DELTA, delta="word ", agent_id="writer", author="writer")
        while (since := anyio.current_time()) < until:
            self._state = replace(self._state, last_seq=self._state.last_seq + 1)
            record = Record(self._state.last_seq, encode_event(event, workflow_id=self._state.run_id, at=now()))
            await self._store.append(self._state.run_id, [record], state=self._state)
            self.waits.append(anyio.current_time() - since)
            due += pause
            await anyio.sleep_until(due)


@asynccontextmanager
async def _writers(folder: Path) -> AsyncIterator[list[Writing]]:
    async with open_sqlite(folder / "durable.db") as store:
        yield [Writing(store, await _run(store)) for _ in range(WRITERS)]


async def _run(store: SqliteStore) -> RunState:
    at, conversation, run = now(), new_id(), new_id()
    await store.add_conversation(Conversation(id=conversation, title="load", created_at=at, updated_at=at))
    state = RunState(
        run_id=run, conversation_id=conversation, task="load", mode="fast", status=RunStatus.RUNNING, created_at=at
    )
    question = Message(id=new_id(), conversation_id=conversation, role="user", content="load", created_at=at)
    return await store.add_run(state, question)


async def measure(folder: Path, seconds: float) -> dict[str, float]:
    """Events a second when all write as fast as they can; and at RATE, the 50th and 99th percentile of the waiting."""
    async with _writers(folder) as writers:
        cpu, began = time.process_time(), anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for writer in writers:
                tasks.start_soon(writer.write, began + seconds)
        kept, took = sum(len(writer.waits) for writer in writers), anyio.current_time() - began
        cpu = time.process_time() - cpu
        for writer in writers:
            writer.waits.clear()
        async with anyio.create_task_group() as tasks:
            for nth, writer in enumerate(writers):
                await anyio.sleep(1 / RATE)  # they do not stay in step
                tasks.start_soon(writer.write, anyio.current_time() + seconds - nth / RATE, WRITERS / RATE)
        waits = [wait for writer in writers for wait in writer.waits]
    return {
        "per_second": kept / took,
        "cpu_per_event": cpu / kept,
        "wait_p50": quantile(waits, 0.5),
        "wait_p99": quantile(waits, 0.99),
    }


if __name__ == "__main__":
    print(json.dumps(anyio.run(measure, Path(sys.argv[1]), float(sys.argv[2]), backend_options={"use_uvloop": True})))

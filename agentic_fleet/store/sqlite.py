"""The embedded store: one SQLite file, one writer that commits in groups (writer.py), one reader (reader.py).

The statements are in conversations.py, runs.py, progress.py and history.py.
"""

import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentic_fleet.conversations import NEW_CHAT, Conversation, Message, Opening
from agentic_fleet.events import Record
from agentic_fleet.executions import Execution, Quality
from agentic_fleet.store import IdempotencyKey, conversations, history, progress, runs
from agentic_fleet.store.reader import Reader, open_reader
from agentic_fleet.store.writer import Observer, Writer, open_writer, unheard
from agentic_fleet.turns import LIVE, Checkpoint, RunState, RunStatus


class SqliteStore:
    """A `Store`. Methods may be called by any task of the event loop it was opened in."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def add_conversation(self, conversation: Conversation) -> None:
        await self._writer.write(lambda db: conversations.add(db, conversation), durable=True)

    async def conversation(self, conversation_id: str, *, owner: str) -> Conversation:
        return await self._reader.read(lambda db: conversations.get(db, conversation_id, owner))

    async def conversations(self, *, owner: str, limit: int, offset: int) -> list[Conversation]:
        return await self._reader.read(lambda db: conversations.page(db, owner, limit, offset))

    async def rename_conversation(self, conversation_id: str, title: str, *, owner: str) -> None:
        await self._writer.write(lambda db: conversations.rename(db, conversation_id, title, owner), durable=True)

    async def drop_conversation(self, conversation_id: str, *, owner: str) -> None:
        await self._writer.write(lambda db: conversations.drop(db, conversation_id, owner), durable=True)

    async def messages(self, conversation_id: str, *, limit: int) -> list[Message]:
        return await self._reader.read(lambda db: conversations.messages(db, conversation_id, limit))

    async def add_run(
        self,
        run: RunState,
        question: Message,
        *,
        key: IdempotencyKey | None = None,
        create: bool = False,
        opening: Opening = NEW_CHAT,
    ) -> RunState:
        return await self._writer.write(lambda db: runs.add(db, run, question, key, create, opening), durable=True)

    async def append(
        self, run_id: str, records: Sequence[Record], *, state: RunState, answer: Message | None = None
    ) -> None:
        ends = state.status not in LIVE
        await self._writer.write(lambda db: runs.append(db, run_id, records, state, answer), durable=ends, certain=True)

    async def append_tokens(self, parts: Sequence[tuple[str, Sequence[Record]]]) -> None:
        await self._writer.write(lambda db: runs.append_tokens(db, parts), certain=True, whole=True)

    async def mark_done_read(self, run_id: str) -> None:
        await self._writer.write(lambda db: runs.mark_done_read(db, run_id))

    async def run(self, run_id: str) -> RunState:
        return await self._reader.read(lambda db: runs.get(db, run_id))

    async def runs(
        self,
        *,
        owner: str | None = None,
        statuses: Collection[RunStatus] | None = None,
        conversation_id: str | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[RunState]:
        return await self._reader.read(lambda db: runs.page(db, owner, statuses, conversation_id, limit, offset))

    async def events(self, run_id: str, *, after: int, limit: int) -> list[Record]:
        return await self._reader.read(lambda db: runs.events(db, run_id, after, limit))

    async def keep_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        await self._writer.write(lambda db: progress.keep_checkpoint(db, run_id, checkpoint))

    async def checkpoints(self, run_id: str) -> list[Checkpoint]:
        return await self._reader.read(lambda db: progress.checkpoints(db, run_id))

    async def keep_step(self, run_id: str, key: str, value: bytes) -> None:
        await self._writer.write(lambda db: progress.keep_step(db, run_id, key, value))

    async def steps(self, run_id: str) -> dict[str, bytes]:
        return await self._reader.read(lambda db: progress.steps(db, run_id))

    async def keep_execution(self, execution: Execution) -> None:
        await self._writer.write(lambda db: history.keep(db, execution))

    async def execution(self, workflow_id: str, *, owner: str) -> Execution:
        return await self._reader.read(lambda db: history.get(db, workflow_id, owner))

    async def executions(self, *, owner: str, limit: int, offset: int) -> list[Execution]:
        return await self._reader.read(lambda db: history.page(db, owner, limit, offset))

    async def drop_execution(self, workflow_id: str, *, owner: str) -> None:
        await self._writer.write(lambda db: history.drop(db, workflow_id, owner), durable=True)

    async def count_executions(self, *, owner: str) -> int:
        return await self._reader.read(lambda db: history.count(db, owner))

    async def drop_executions(self, *, owner: str) -> list[str]:
        return await self._writer.write(lambda db: history.clear(db, owner), durable=True)

    async def score_answer(self, run_id: str, quality: Quality, *, feedback: Mapping[str, Any] | None = None) -> None:
        human = quality.by == "human"
        await self._writer.write(lambda db: history.score(db, run_id, quality, feedback), durable=human)

    async def unscored(self, *, limit: int) -> list[str]:
        return await self._reader.read(lambda db: history.unscored(db, limit))

    async def ping(self) -> None:
        await self._writer.write(_rewrite_version)


@asynccontextmanager
async def open_sqlite(path: Path, written: Observer = unheard) -> AsyncIterator[SqliteStore]:
    """The store in the file `path`, whose folder exists; made or migrated when need be.

    `written` hears how many seconds each write has taken, waiting included.

    It owns its connections and its writing task: leaving refuses new work and finishes what waits. StoreFailed when
    the file cannot be opened or a newer version has written it. As with any task group, what the block raises comes
    out in an ExceptionGroup.
    """
    async with open_writer(path, written) as writer, open_reader(path) as reader:
        yield SqliteStore(writer, reader)


def _rewrite_version(db: sqlite3.Connection) -> None:
    """A real write that changes nothing: page 1 goes to the disk again, so a full or locked one shows."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")

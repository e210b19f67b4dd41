"""The embedded store: one SQLite file, one writer that commits in groups (writer.py), one reader (reader.py).

The statements are here, as plain functions of a connection; each runs whole in a worker thread.
"""

import sqlite3
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from pathlib import Path

from agentic_fleet.conversations import Conversation, Message
from agentic_fleet.errors import Conflict, KeyReused, NotFound
from agentic_fleet.events import Record
from agentic_fleet.store import KEY_LIFETIME, IdempotencyKey
from agentic_fleet.store.reader import Reader, open_reader
from agentic_fleet.store.schema import LIVE_RUN
from agentic_fleet.store.writer import Writer, open_writer
from agentic_fleet.turns import LIVE, RunState, RunStatus

_RUN = ", ".join(column.name for column in fields(RunState))
_MESSAGE = ", ".join(column.name for column in fields(Message))
_CONVERSATION = "id, title, created_at, updated_at"


class SqliteStore:
    """A `Store`. Methods may be called by any task of the event loop it was opened in."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def add_conversation(self, conversation: Conversation) -> None:
        await self._writer.write(lambda db: _add_conversation(db, conversation), durable=True)

    async def conversation(self, conversation_id: str) -> Conversation:
        return await self._reader.read(lambda db: _conversation(db, conversation_id))

    async def conversations(self, *, limit: int, offset: int) -> list[Conversation]:
        return await self._reader.read(lambda db: _conversations(db, limit, offset))

    async def drop_conversation(self, conversation_id: str) -> None:
        await self._writer.write(lambda db: _drop_conversation(db, conversation_id), durable=True)

    async def messages(self, conversation_id: str, *, limit: int) -> list[Message]:
        return await self._reader.read(lambda db: _messages(db, conversation_id, limit))

    async def add_run(
        self, run: RunState, question: Message, *, key: IdempotencyKey | None = None, create: bool = False
    ) -> RunState:
        return await self._writer.write(lambda db: _add_run(db, run, question, key, create), durable=True)

    async def append(
        self, run_id: str, records: Sequence[Record], *, state: RunState, answer: Message | None = None
    ) -> None:
        ends = state.status not in LIVE
        await self._writer.write(lambda db: _append(db, run_id, records, state, answer), durable=ends)

    async def mark_done_read(self, run_id: str) -> None:
        await self._writer.write(lambda db: db.execute("UPDATE runs SET done_read = 1 WHERE run_id = ?", (run_id,)))

    async def run(self, run_id: str) -> RunState:
        return await self._reader.read(lambda db: _run(db, run_id))

    async def runs(
        self,
        *,
        statuses: Collection[RunStatus] | None = None,
        conversation_id: str | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[RunState]:
        return await self._reader.read(lambda db: _runs(db, statuses, conversation_id, limit, offset))

    async def events(self, run_id: str, *, after: int, limit: int) -> list[Record]:
        return await self._reader.read(lambda db: _events(db, run_id, after, limit))

    async def ping(self) -> None:
        await self._writer.write(_rewrite_version)


@asynccontextmanager
async def open_sqlite(path: Path) -> AsyncIterator[SqliteStore]:
    """The store in the file `path`, whose folder exists; made or migrated when need be.

    It owns its connections and its writing task: leaving refuses new work and finishes what waits. StoreFailed when
    the file cannot be opened or a newer version has written it. As with any task group, what the block raises comes
    out in an ExceptionGroup.
    """
    async with open_writer(path) as writer, open_reader(path) as reader:
        yield SqliteStore(writer, reader)


def _add_conversation(db: sqlite3.Connection, conversation: Conversation) -> None:
    if not _insert_conversation(db, conversation):
        raise Conflict("This conversation already exists.")


def _insert_conversation(db: sqlite3.Connection, conversation: Conversation) -> bool:
    """Whether it was new."""
    row = (conversation.id, conversation.title, conversation.created_at, conversation.updated_at)
    sql = f"INSERT INTO conversations ({_CONVERSATION}) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
    return db.execute(sql, row).rowcount == 1


def _conversation(db: sqlite3.Connection, conversation_id: str) -> Conversation:
    sql = f"SELECT {_CONVERSATION} FROM conversations WHERE id = ?"
    row = db.execute(sql, (conversation_id,)).fetchone()
    if row is None:
        raise NotFound("There is no such conversation.")
    return Conversation(**row, messages=tuple(_messages(db, conversation_id, -1)))  # -1: all (SQLite's LIMIT)


def _conversations(db: sqlite3.Connection, limit: int, offset: int) -> list[Conversation]:
    sql = f"SELECT {_CONVERSATION} FROM conversations ORDER BY updated_at DESC, position DESC LIMIT ? OFFSET ?"
    return [Conversation(**row) for row in db.execute(sql, (limit, offset))]


def _drop_conversation(db: sqlite3.Connection, conversation_id: str) -> None:
    if db.execute(f"SELECT 1 FROM runs WHERE conversation_id = ? AND {LIVE_RUN}", (conversation_id,)).fetchone():
        raise Conflict("This conversation has a live run.")
    if not db.execute("DELETE FROM conversations WHERE id = ?", (conversation_id,)).rowcount:
        raise NotFound("There is no such conversation.")


def _touch(db: sqlite3.Connection, conversation_id: str, at: int) -> None:
    if not db.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", (at, conversation_id)).rowcount:
        raise NotFound("There is no such conversation.")


def _messages(db: sqlite3.Connection, conversation_id: str, limit: int) -> list[Message]:
    sql = f"SELECT {_MESSAGE} FROM messages WHERE conversation_id = ? ORDER BY position DESC LIMIT ?"
    rows = db.execute(sql, (conversation_id, limit)).fetchall()
    return [Message(**{**row, "quality_pending": bool(row["quality_pending"])}) for row in reversed(rows)]


def _insert_message(db: sqlite3.Connection, message: Message) -> None:
    values = asdict(message)
    db.execute(f"INSERT INTO messages ({_MESSAGE}) VALUES (:{', :'.join(values)})", values)


def _add_run(
    db: sqlite3.Connection, run: RunState, question: Message, key: IdempotencyKey | None, create: bool
) -> RunState:
    if key and (first := _run_of_key(db, key, now=run.created_at)):
        return first
    at = question.created_at
    if create:
        _insert_conversation(db, Conversation(id=run.conversation_id, title="New Chat", created_at=at, updated_at=at))
    _touch(db, run.conversation_id, at)
    values = asdict(run)
    sql = f"""INSERT INTO runs ({_RUN}) VALUES (:{", :".join(values)})
        ON CONFLICT (conversation_id) WHERE {LIVE_RUN} DO NOTHING"""
    if not db.execute(sql, values).rowcount:
        raise Conflict("This conversation already has a live run.")
    _insert_message(db, question)
    if key:
        row = (key.key, key.fingerprint, run.run_id, run.created_at)
        db.execute("INSERT INTO idempotency_keys (key, fingerprint, run_id, created_at) VALUES (?, ?, ?, ?)", row)
    return run


def _run_of_key(db: sqlite3.Connection, key: IdempotencyKey, *, now: int) -> RunState | None:
    db.execute("DELETE FROM idempotency_keys WHERE created_at <= ?", (now - KEY_LIFETIME,))
    row = db.execute("SELECT fingerprint, run_id FROM idempotency_keys WHERE key = ?", (key.key,)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != key.fingerprint:
        raise KeyReused("This idempotency key was used for another request.")
    return _run(db, row["run_id"])


def _append(
    db: sqlite3.Connection, run_id: str, records: Sequence[Record], state: RunState, answer: Message | None
) -> None:
    _update_run(db, run_id, state)
    rows = [(run_id, record.seq, record.body) for record in records]
    db.executemany("INSERT INTO events (run_id, seq, body) VALUES (?, ?, ?)", rows)
    if answer:
        _insert_message(db, answer)
        _touch(db, answer.conversation_id, answer.created_at)


def _update_run(db: sqlite3.Connection, run_id: str, state: RunState) -> None:
    # done_read only ever rises: the run does not know what mark_done_read has written meanwhile
    sql = """UPDATE runs SET status = ?, started_at = ?, completed_at = ?, last_seq = ?, error = ?, quality_score = ?,
        done_read = done_read OR ? WHERE run_id = ?"""
    row = (
        state.status.value,
        state.started_at,
        state.completed_at,
        state.last_seq,
        state.error,
        state.quality_score,
        state.done_read,
        run_id,
    )
    try:
        found = db.execute(sql, row).rowcount
    except sqlite3.IntegrityError:  # the index one_live_run: a run that ended comes back to life beside another
        raise Conflict("This conversation already has a live run.") from None
    if not found:
        raise NotFound("There is no such run.")


def _run(db: sqlite3.Connection, run_id: str) -> RunState:
    row = db.execute(f"SELECT {_RUN} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotFound("There is no such run.")
    return _run_state(row)


def _runs(
    db: sqlite3.Connection,
    statuses: Collection[RunStatus] | None,
    conversation_id: str | None,
    limit: int,
    offset: int,
) -> list[RunState]:
    where, values = ["TRUE"], list[str | int]()
    if statuses is not None:
        where.append(f"status IN ({', '.join('?' * len(statuses))})")
        values += statuses
    if conversation_id is not None:
        where.append("conversation_id = ?")
        values.append(conversation_id)
    sql = f"""SELECT {_RUN} FROM runs WHERE {" AND ".join(where)}
        ORDER BY created_at DESC, position DESC LIMIT ? OFFSET ?"""
    return [_run_state(row) for row in db.execute(sql, (*values, limit, offset))]


def _run_state(row: sqlite3.Row) -> RunState:
    return RunState(**{**row, "status": RunStatus(row["status"]), "done_read": bool(row["done_read"])})


def _events(db: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[Record]:
    sql = "SELECT seq, body FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    return [Record(*row) for row in db.execute(sql, (run_id, after, limit))]


def _rewrite_version(db: sqlite3.Connection) -> None:
    """A real write that changes nothing: page 1 goes to the disk again, so a full or locked one shows."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")

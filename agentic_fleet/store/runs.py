"""The statements about runs, their events and idempotency keys, as functions of a connection.

Each runs whole in a worker thread and inside somebody else's transaction (writer.py, reader.py).
"""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.conversations import Conversation, Message, Opening
from agentic_fleet.errors import Conflict, KeyReused, NotFound
from agentic_fleet.events import Record
from agentic_fleet.store import KEY_LIFETIME, IdempotencyKey, conversations, progress
from agentic_fleet.store.connection import savepoint
from agentic_fleet.store.schema import LIVE_RUN
from agentic_fleet.turns import LIVE, Ask, PendingRequest, RunState, RunStatus

_COLUMNS = tuple(column.name for column in fields(RunState))
_CHANGING = (
    "status",
    "started_at",
    "completed_at",
    "last_seq",
    "error",
    "quality_score",
    "pending_requests",
    "answers",
)
_JSON: dict[str, msgspec.json.Decoder[Any]] = {
    "ask": msgspec.json.Decoder(Ask | None),
    "pending_requests": msgspec.json.Decoder(tuple[PendingRequest, ...]),
    "answers": msgspec.json.Decoder(dict[str, Any]),
}
"""The columns that hold JSON, and how to read them."""
_LAST_SEQ = "(SELECT ifnull(max(seq), 0) FROM events WHERE run = runs.position) AS last_seq"
"""Where the log ends. The column is of no use: it would have to be written again with every token."""
_SELECT = f"SELECT {', '.join(_LAST_SEQ if name == 'last_seq' else name for name in _COLUMNS)} FROM runs"
_NUMBER = "(SELECT position FROM runs WHERE run_id = ?)"
_ROWS = 64
"""Rows of one INSERT at most. There is a statement for each number of rows, and the connection keeps 128 prepared."""


def add(
    db: sqlite3.Connection,
    run: RunState,
    question: Message,
    key: IdempotencyKey | None,
    create: bool,
    opening: Opening,
) -> RunState:
    if key and (first := _run_of_key(db, key, run.owner, now=run.created_at)):
        return first
    at = question.created_at
    if create:
        chat = Conversation(
            id=run.conversation_id,
            owner=run.owner,
            title=opening.title,
            created_at=at,
            updated_at=at,
            listed=opening.listed,
        )
        conversations.insert(db, chat)
    conversations.touch(db, run.conversation_id, run.owner, at)
    sql = f"""INSERT INTO runs ({", ".join(_COLUMNS)}) VALUES (:{", :".join(_COLUMNS)})
        ON CONFLICT (conversation_id) WHERE {LIVE_RUN} DO NOTHING"""
    if not db.execute(sql, _values(run, _COLUMNS)).rowcount:
        raise Conflict("This conversation already has a live run.")
    for message in (*opening.messages, question):
        conversations.insert_message(db, message)
    if key:
        row = (run.owner, key.key, key.fingerprint, run.run_id, run.created_at)
        columns = "owner, key, fingerprint, run_id, created_at"
        db.execute(f"INSERT INTO idempotency_keys ({columns}) VALUES (?, ?, ?, ?, ?)", row)
    return run


def _run_of_key(db: sqlite3.Connection, key: IdempotencyKey, owner: str, *, now: int) -> RunState | None:
    db.execute("DELETE FROM idempotency_keys WHERE created_at <= ?", (now - KEY_LIFETIME,))
    sql = "SELECT fingerprint, run_id FROM idempotency_keys WHERE owner = ? AND key = ?"
    row = db.execute(sql, (owner, key.key)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != key.fingerprint:
        raise KeyReused("This idempotency key was used for another request.")
    return get(db, row["run_id"])


def append(
    db: sqlite3.Connection, run_id: str, records: Sequence[Record], state: RunState, answer: Message | None
) -> None:
    _update(db, run_id, state)
    _insert(db, [(run_id, record.seq, record.body) for record in records])
    if answer:
        conversations.insert_message(db, answer)
        conversations.touch(db, answer.conversation_id, state.owner, answer.created_at)
    if state.status is RunStatus.COMPLETED:
        progress.forget(db, run_id)


def append_tokens(db: sqlite3.Connection, parts: Sequence[tuple[str, Sequence[Record]]]) -> None:
    """Events of any number of runs, which change nothing else about them: all or none, inside a transaction or not.
    NotFound when one of the runs is gone."""
    rows = [(run_id, record.seq, record.body) for run_id, records in parts for record in records]
    try:
        if len(rows) <= _ROWS:  # one statement, which SQLite makes a transaction of its own
            return _insert(db, rows)
        with savepoint(db):
            _insert(db, rows)
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_NOTNULL:
            raise NotFound("There is no such run.") from None
        raise


def _insert(db: sqlite3.Connection, rows: Sequence[tuple[str, int, bytes]]) -> None:
    """As few statements as can be: each costs a handover between the threads, which takes longer than its rows."""
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        db.execute(_inserting(len(some)), [value for row in some for value in row])


@cache
def _inserting(rows: int) -> str:
    return f"INSERT INTO events (run, seq, body) VALUES {', '.join([f'({_NUMBER}, ?, ?)'] * rows)}"


def _update(db: sqlite3.Connection, run_id: str, state: RunState) -> None:
    # The run does not know what mark_done_read has written meanwhile; but nobody has read the `done` of a live one.
    done_read = "0" if state.status in LIVE else "done_read OR :done_read"
    sql = f"""UPDATE runs SET {", ".join(f"{name} = :{name}" for name in _CHANGING)},
        done_read = {done_read} WHERE run_id = :run_id"""
    try:
        found = db.execute(sql, _values(state, (*_CHANGING, "done_read")) | {"run_id": run_id}).rowcount
    except sqlite3.IntegrityError:  # the index one_live_run: a run that ended comes back to life beside another
        raise Conflict("This conversation already has a live run.") from None
    if not found:
        raise NotFound("There is no such run.")


def mark_done_read(db: sqlite3.Connection, run_id: str) -> None:
    db.execute("UPDATE runs SET done_read = 1 WHERE run_id = ?", (run_id,))


def get(db: sqlite3.Connection, run_id: str) -> RunState:
    row = db.execute(f"{_SELECT} WHERE run_id = ?", (run_id,)).fetchone()
    if row is None:
        raise NotFound("There is no such run.")
    return _state(row)


def page(
    db: sqlite3.Connection,
    owner: str | None,
    statuses: Collection[RunStatus] | None,
    conversation_id: str | None,
    limit: int,
    offset: int,
) -> list[RunState]:
    where, values = ["TRUE"], list[str | int]()
    if owner is not None:
        where.append(
            "owner = ?" if conversation_id is None else "+owner = ?"
        )  # + : not by an index; the other is better
        values.append(owner)
    if statuses is not None:
        where.append(f"status IN ({', '.join('?' * len(statuses))})")
        values += statuses
    if conversation_id is not None:
        where.append("conversation_id = ?")
        values.append(conversation_id)
    # Of a conversation, the newest is the one that began last: clocks are set back.
    order = "created_at DESC, position DESC" if conversation_id is None else "position DESC"
    sql = f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ? OFFSET ?"
    return [_state(row) for row in db.execute(sql, (*values, limit, offset))]


def events(db: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[Record]:
    sql = f"SELECT seq, body FROM events WHERE run = {_NUMBER} AND seq > ? ORDER BY seq LIMIT ?"
    return [Record(*row) for row in db.execute(sql, (run_id, after, limit))]


def _values(state: RunState, names: Sequence[str]) -> dict[str, Any]:
    given = {name: getattr(state, name) for name in names}
    return given | {name: jsontext.encode(given[name]).decode() for name in given.keys() & _JSON.keys()}


def _state(row: sqlite3.Row) -> RunState:
    values = {**row, **{name: decoder.decode(row[name]) for name, decoder in _JSON.items()}}
    return RunState(**values | {"status": RunStatus(row["status"]), "done_read": bool(row["done_read"])})

"""The statements about conversations and their messages, as functions of a connection.

Each runs whole in a worker thread and inside somebody else's transaction (writer.py, reader.py).
"""

import sqlite3
from dataclasses import asdict, fields

from agentic_fleet.conversations import Conversation, Message
from agentic_fleet.errors import Conflict, NotFound
from agentic_fleet.store.schema import LISTED, LIVE_RUN

_MESSAGE = ", ".join(column.name for column in fields(Message))
_CONVERSATION = "id, owner, title, created_at, updated_at, listed"


def add(db: sqlite3.Connection, conversation: Conversation) -> None:
    if not insert(db, conversation):
        raise Conflict("This conversation already exists.")


def insert(db: sqlite3.Connection, conversation: Conversation) -> bool:
    """Whether it was new."""
    it = conversation
    sql = f"INSERT INTO conversations ({_CONVERSATION}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
    return db.execute(sql, (it.id, it.owner, it.title, it.created_at, it.updated_at, it.listed)).rowcount == 1


def get(db: sqlite3.Connection, conversation_id: str, owner: str) -> Conversation:
    sql = f"SELECT {_CONVERSATION} FROM conversations WHERE id = ? AND owner = ?"
    row = db.execute(sql, (conversation_id, owner)).fetchone()
    if row is None:
        raise NotFound("There is no such conversation.")
    return _conversation(row, tuple(messages(db, conversation_id, -1)))  # -1: all (SQLite's LIMIT)


def page(db: sqlite3.Connection, owner: str, limit: int, offset: int) -> list[Conversation]:
    sql = f"""SELECT {_CONVERSATION} FROM conversations WHERE owner = ? AND {LISTED}
        ORDER BY updated_at DESC, position DESC LIMIT ? OFFSET ?"""
    return [_conversation(row) for row in db.execute(sql, (owner, limit, offset))]


def rename(db: sqlite3.Connection, conversation_id: str, title: str, owner: str) -> None:
    sql = "UPDATE conversations SET title = ? WHERE id = ? AND owner = ?"
    if not db.execute(sql, (title, conversation_id, owner)).rowcount:
        raise NotFound("There is no such conversation.")


def drop(db: sqlite3.Connection, conversation_id: str, owner: str) -> None:
    sql = f"SELECT 1 FROM runs WHERE conversation_id = ? AND owner = ? AND {LIVE_RUN}"
    if db.execute(sql, (conversation_id, owner)).fetchone():
        raise Conflict("This conversation has a live run.")
    if not db.execute("DELETE FROM conversations WHERE id = ? AND owner = ?", (conversation_id, owner)).rowcount:
        raise NotFound("There is no such conversation.")


def touch(db: sqlite3.Connection, conversation_id: str, owner: str, at: int) -> None:
    sql = "UPDATE conversations SET updated_at = ? WHERE id = ? AND owner = ?"
    if not db.execute(sql, (at, conversation_id, owner)).rowcount:
        raise NotFound("There is no such conversation.")


def messages(db: sqlite3.Connection, conversation_id: str, limit: int) -> list[Message]:
    sql = f"SELECT {_MESSAGE} FROM messages WHERE conversation_id = ? ORDER BY position DESC LIMIT ?"
    rows = db.execute(sql, (conversation_id, limit)).fetchall()
    return [Message(**{**row, "quality_pending": bool(row["quality_pending"])}) for row in reversed(rows)]


def insert_message(db: sqlite3.Connection, message: Message) -> None:
    values = asdict(message)
    db.execute(f"INSERT INTO messages ({_MESSAGE}) VALUES (:{', :'.join(values)})", values)


def _conversation(row: sqlite3.Row, messages: tuple[Message, ...] = ()) -> Conversation:
    return Conversation(**{**row, "listed": bool(row["listed"])}, messages=messages)

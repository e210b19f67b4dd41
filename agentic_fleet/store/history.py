"""The statements about executions and the scores of answers, as functions of a connection.

Each runs whole in a worker thread and inside somebody else's transaction (writer.py, reader.py).
"""

import sqlite3
from collections.abc import Mapping
from typing import Any

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.errors import NotFound
from agentic_fleet.executions import Execution, Quality

_ANSWER = """role = 'assistant' AND workflow_id = :run_id
    AND conversation_id = (SELECT conversation_id FROM runs WHERE run_id = :run_id)"""


def keep(db: sqlite3.Connection, execution: Execution) -> None:
    values = {
        "workflow_id": execution.workflow_id,
        "owner": execution.owner,
        "conversation_id": execution.conversation_id,
        "created_at": execution.created_at,
        "account": jsontext.encode(execution.account).decode(),
        **_quality(execution.quality),
    }
    sql = """INSERT INTO executions (workflow_id, owner, conversation_id, created_at, score, flag, scored_by, account)
        SELECT :workflow_id, :owner, :conversation_id, :created_at, :score, :flag, :by, :account
        WHERE :conversation_id IS NULL OR EXISTS (SELECT 1 FROM conversations WHERE id = :conversation_id)
        ON CONFLICT (workflow_id) DO UPDATE SET account = excluded.account, score = excluded.score,
            flag = excluded.flag, scored_by = excluded.scored_by"""
    if not db.execute(sql, values).rowcount:
        raise NotFound("There is no such conversation.")


def get(db: sqlite3.Connection, workflow_id: str, owner: str) -> Execution:
    row = db.execute("SELECT * FROM executions WHERE workflow_id = ? AND owner = ?", (workflow_id, owner)).fetchone()
    if row is None:
        raise NotFound("There is no such execution.")
    return _execution(row)


def page(db: sqlite3.Connection, owner: str, limit: int, offset: int) -> list[Execution]:
    sql = "SELECT * FROM executions WHERE owner = ? ORDER BY created_at DESC, position DESC LIMIT ? OFFSET ?"
    return [_execution(row) for row in db.execute(sql, (owner, limit, offset))]


def count(db: sqlite3.Connection, owner: str) -> int:
    return int(db.execute("SELECT count(*) FROM executions WHERE owner = ?", (owner,)).fetchone()[0])


def drop(db: sqlite3.Connection, workflow_id: str, owner: str) -> None:
    sql = "DELETE FROM executions WHERE workflow_id = ? AND owner = ?"
    if not db.execute(sql, (workflow_id, owner)).rowcount:
        raise NotFound("There is no such execution.")


def clear(db: sqlite3.Connection, owner: str) -> list[str]:
    rows = db.execute("SELECT workflow_id FROM executions WHERE owner = ?", (owner,)).fetchall()
    db.execute("DELETE FROM executions WHERE owner = ?", (owner,))
    return [row["workflow_id"] for row in rows]


def score(db: sqlite3.Connection, run_id: str, quality: Quality, feedback: Mapping[str, Any] | None) -> None:
    values = {"run_id": run_id, **_quality(quality)}
    values["feedback"] = None if feedback is None else jsontext.encode(feedback).decode()
    pending = "TRUE" if quality.by == "human" else "quality_pending"  # a human's word is not taken back
    sql = f"""UPDATE messages SET quality_score = :score, quality_flag = :flag, quality_pending = 0
        WHERE {_ANSWER} AND {pending}"""
    if not db.execute(sql, values).rowcount:
        raise NotFound("There is no such answer.")
    db.execute("UPDATE runs SET quality_score = :score WHERE run_id = :run_id", values)
    sql = """UPDATE executions SET score = :score, flag = :flag, scored_by = :by,
        feedback = coalesce(:feedback, feedback) WHERE workflow_id = :run_id"""
    db.execute(sql, values)


def unscored(db: sqlite3.Connection, limit: int) -> list[str]:
    sql = """SELECT workflow_id FROM messages WHERE quality_pending = 1 AND workflow_id IS NOT NULL
        ORDER BY position LIMIT ?"""
    return [row["workflow_id"] for row in db.execute(sql, (limit,))]


def _quality(quality: Quality) -> dict[str, Any]:
    return {"score": quality.score, "flag": quality.flag, "by": quality.by}


def _execution(row: sqlite3.Row) -> Execution:
    return Execution(
        workflow_id=row["workflow_id"],
        owner=row["owner"],
        conversation_id=row["conversation_id"],
        created_at=row["created_at"],
        quality=Quality(score=row["score"], flag=row["flag"], by=row["scored_by"]),
        feedback=msgspec.json.decode(row["feedback"]) if row["feedback"] else None,
        account=msgspec.json.decode(row["account"]),
    )

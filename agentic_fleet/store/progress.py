"""The statements about what a run has done so far (checkpoints and steps), as functions of a connection.

Each runs whole in a worker thread and inside somebody else's transaction (writer.py, reader.py).
"""

import sqlite3
from dataclasses import asdict

from agentic_fleet.errors import NotFound
from agentic_fleet.turns import Checkpoint


def keep_checkpoint(db: sqlite3.Connection, run_id: str, checkpoint: Checkpoint) -> None:
    sql = """INSERT OR REPLACE INTO checkpoints (run_id, checkpoint_id, phase, at, body)
        SELECT run_id, :checkpoint_id, :phase, :at, :body FROM runs WHERE run_id = :run_id"""
    if not db.execute(sql, {"run_id": run_id, **asdict(checkpoint)}).rowcount:
        raise NotFound("There is no such run.")


def checkpoints(db: sqlite3.Connection, run_id: str) -> list[Checkpoint]:
    sql = "SELECT checkpoint_id, phase, at, body FROM checkpoints WHERE run_id = ? ORDER BY position"
    return [Checkpoint(**row) for row in db.execute(sql, (run_id,))]


def keep_step(db: sqlite3.Connection, run_id: str, key: str, value: bytes) -> None:
    sql = "INSERT OR REPLACE INTO steps (run_id, key, value) SELECT run_id, ?, ? FROM runs WHERE run_id = ?"
    if not db.execute(sql, (key, value, run_id)).rowcount:
        raise NotFound("There is no such run.")


def steps(db: sqlite3.Connection, run_id: str) -> dict[str, bytes]:
    return dict(db.execute("SELECT key, value FROM steps WHERE run_id = ?", (run_id,)).fetchall())


def forget(db: sqlite3.Connection, run_id: str) -> None:
    db.execute("DELETE FROM checkpoints WHERE run_id = ?", (run_id,))
    db.execute("DELETE FROM steps WHERE run_id = ?", (run_id,))

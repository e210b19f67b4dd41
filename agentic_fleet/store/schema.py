"""The tables, as an ordered list of migrations; `PRAGMA user_version` counts the ones a file has had.

A migration that was released is never edited: a change is a new one at the end.
"""

import logging
import sqlite3

from agentic_fleet.errors import StoreFailed

logger = logging.getLogger(__name__)

LIVE_RUN = "status IN ('created', 'running', 'waiting')"
"""`turns.LIVE` in SQL. The index `one_live_run` is built on it, so a change here needs a migration too."""

LISTED = "listed = 1"
"""Which conversations the list shows. An index is built on it, too."""

_TABLES = (
    # `position` is the order of insertion: it breaks ties between equal times.
    """CREATE TABLE conversations (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    )""",
    "CREATE INDEX conversations_by_time ON conversations (updated_at)",
    """CREATE TABLE messages (
        position INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        role TEXT NOT NULL,
        content TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        author TEXT,
        agent_id TEXT,
        workflow_id TEXT,
        quality_score REAL,
        quality_flag TEXT,
        quality_pending INTEGER NOT NULL
    )""",
    "CREATE INDEX messages_of_conversation ON messages (conversation_id)",
    """CREATE TABLE runs (
        position INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
        task TEXT NOT NULL,
        mode TEXT NOT NULL,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        completed_at INTEGER,
        last_seq INTEGER NOT NULL,
        error TEXT,
        quality_score REAL,
        done_read INTEGER NOT NULL
    )""",
    "CREATE INDEX runs_by_time ON runs (created_at)",
    "CREATE INDEX runs_of_conversation ON runs (conversation_id, created_at)",
    f"CREATE UNIQUE INDEX one_live_run ON runs (conversation_id) WHERE {LIVE_RUN}",
    """CREATE TABLE events (
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (run_id, seq)
    ) WITHOUT ROWID""",
    """CREATE TABLE idempotency_keys (
        key TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        created_at INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX keys_by_time ON idempotency_keys (created_at)",
    "CREATE INDEX keys_of_run ON idempotency_keys (run_id)",
)

_GOING_ON = (
    # What a run needs to go on after a restart. Runs of before have the JSON null for an ask.
    "ALTER TABLE runs ADD COLUMN ask TEXT NOT NULL DEFAULT 'null'",
    "ALTER TABLE runs ADD COLUMN pending_requests TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE runs ADD COLUMN answers TEXT NOT NULL DEFAULT '{}'",
    """CREATE TABLE checkpoints (
        position INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        checkpoint_id TEXT NOT NULL,
        phase TEXT NOT NULL,
        at INTEGER NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (run_id, checkpoint_id)
    )""",
    # With row ids: values are kilobytes, and those would make a clustered index deep.
    """CREATE TABLE steps (
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (run_id, key)
    )""",
)

_OWNERS = (
    # What was kept before belongs to the one caller of a service without keys.
    "ALTER TABLE conversations ADD COLUMN owner TEXT NOT NULL DEFAULT 'local'",
    "ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT 'local'",
    "DROP INDEX runs_by_time",
    "CREATE INDEX runs_by_time ON runs (owner, created_at)",
    """CREATE TABLE keys_of_owners (
        owner TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
        created_at INTEGER NOT NULL,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID""",
    """INSERT INTO keys_of_owners (owner, key, fingerprint, run_id, created_at)
        SELECT 'local', key, fingerprint, run_id, created_at FROM idempotency_keys""",
    "DROP TABLE idempotency_keys",
    "ALTER TABLE keys_of_owners RENAME TO idempotency_keys",
    "CREATE INDEX keys_by_time ON idempotency_keys (created_at)",
    "CREATE INDEX keys_of_run ON idempotency_keys (run_id)",
    # The ones that a dead process left live: found at start without a walk over all runs of all owners.
    f"CREATE INDEX live_runs ON runs (created_at) WHERE {LIVE_RUN}",
)

_UNLISTED = (
    # Programs that speak for chat clients make a conversation for each question: the list must not drown in them.
    "ALTER TABLE conversations ADD COLUMN listed INTEGER NOT NULL DEFAULT 1",
    "DROP INDEX conversations_by_time",
    f"CREATE INDEX conversations_by_time ON conversations (owner, updated_at) WHERE {LISTED}",
)

_HISTORY = (
    # Of runs, but not theirs: a run that is not kept here (another workflow's) may have one too.
    """CREATE TABLE executions (
        position INTEGER PRIMARY KEY,
        workflow_id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        conversation_id TEXT REFERENCES conversations (id) ON DELETE CASCADE,
        created_at INTEGER NOT NULL,
        score REAL,
        flag TEXT,
        scored_by TEXT,
        feedback TEXT,
        account TEXT NOT NULL
    )""",
    "CREATE INDEX executions_by_time ON executions (owner, created_at)",
    "CREATE INDEX executions_of_conversation ON executions (conversation_id)",
    "CREATE INDEX unscored_messages ON messages (position) WHERE quality_pending = 1",
)

_EVENTS = (
    # In the order of writing: sorted by run, each token of a hundred live runs was another page to write. With numbers
    # for runs, because those that live together then share the pages of the index.
    """CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES runs (position) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        body BLOB NOT NULL
    )""",
    """INSERT INTO log (run, seq, body)
        SELECT runs.position, seq, body FROM events JOIN runs USING (run_id) ORDER BY runs.position, seq""",
    "DROP TABLE events",
    "ALTER TABLE log RENAME TO events",
    "CREATE UNIQUE INDEX events_of_run ON events (run, seq)",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_TABLES, _GOING_ON, _OWNERS, _UNLISTED, _HISTORY, _EVENTS)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to date. StoreFailed when a newer version of the service has written it."""
    if 0 < _version(connection) < len(MIGRATIONS):
        logger.info("the database of an earlier version is being brought up to date")
    while (version := _version(connection)) < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) == version:  # else another process was faster
                for statement in MIGRATIONS[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
    if version > len(MIGRATIONS):
        raise StoreFailed("The database was written by a newer version of AgenticFleet.")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)

"""Small things to keep."""

from typing import Any

from agentic_fleet.conversations import Conversation, Message
from agentic_fleet.events import Record
from agentic_fleet.store import Store
from agentic_fleet.turns import Checkpoint, RunState, RunStatus


def conversation(id: str = "chat", *, at: int = 1000) -> Conversation:
    return Conversation(id=id, title=f"About {id}", created_at=at, updated_at=at)


def run(run_id: str = "run", *, of: str = "chat", at: int = 2000, **more: Any) -> RunState:
    given: dict[str, Any] = {"task": "Why?", "mode": "auto", "status": RunStatus.CREATED, **more}
    return RunState(run_id=run_id, conversation_id=of, created_at=at, **given)


def question(id: str, *, of: str = "chat", at: int = 2000) -> Message:
    return Message(id=id, conversation_id=of, role="user", content="Why? \u2028 \U0001f600", created_at=at)


def answer(id: str, *, of: str = "chat", at: int = 3000) -> Message:
    return Message(
        id=id,
        conversation_id=of,
        role="assistant",
        content="Because.",
        created_at=at,
        author="Writer",
        agent_id="writer",
        workflow_id="run",
        quality_score=8.5,
        quality_flag="good",
        quality_pending=True,
    )


def records(first: int, last: int) -> list[Record]:
    return [Record(seq, b'{"type":"response.delta","delta":"%d"}' % seq) for seq in range(first, last + 1)]


def checkpoint(id: str = "c", *, phase: str = "routing", at: int = 2500, body: bytes = b"\x00{}") -> Checkpoint:
    return Checkpoint(checkpoint_id=id, phase=phase, at=at, body=body)


async def start(store: Store, run_id: str = "run", *, of: str = "chat", at: int = 2000, **more: Any) -> RunState:
    """A run with its question, in a conversation that is made when need be."""
    return await store.add_run(run(run_id, of=of, at=at, **more), question(f"q-{run_id}", of=of, at=at), create=True)


async def append(store: Store, seq: int, run_id: str = "run", *, of: str = "chat") -> None:
    """The record `seq`, alone."""
    await store.append(run_id, records(seq, seq), state=run(run_id, of=of, last_seq=seq))

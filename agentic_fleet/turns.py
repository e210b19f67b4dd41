"""What goes into a workflow (`Ask`), how events come out (`Emit`), and what is known of a run (`RunState`).

`runs` knows workflows only by the `Workflow` protocol below; app.py introduces the two.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from agentic_fleet.conversations import Message
from agentic_fleet.events import StreamEvent

Mode = Literal["auto", "fast", "delegated", "sequential", "parallel"]
ReasoningEffort = Literal["minimal", "medium", "maximal"]
OnDisconnect = Literal["continue", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to the team. `message` is 1..10,000 characters; `web/wire.py` has checked it."""

    message: str
    mode: Mode = "auto"
    reasoning_effort: ReasoningEffort | None = None
    on_disconnect: OnDisconnect = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An ask with what the workflow may know beside it: ids, and the conversation so far, oldest first."""

    run_id: str
    conversation_id: str
    ask: Ask
    history: Sequence[Message] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer of a workflow. `text` equals the joined `response.delta` texts it emitted."""

    text: str
    author: str
    agent_id: str
    quality_score: float | None = None
    quality_flag: str | None = None


Emit = Callable[[StreamEvent], Awaitable[None]]
"""Hands one event to the run. Waits while the store is behind: that is the backpressure on the model."""


class Workflow(Protocol):
    """Thinking. Shared by all runs, so it holds no state of any; cancellation of `run` must reach the model."""

    async def run(self, turn: Turn, emit: Emit) -> Result:
        """Work until there is an answer. Emits no `connected`, no ending and no `done`: the run does.

        Raises FleetError with a text that is safe to show; anything else is shown as an unexpected failure.
        """
        ...


class RunStatus(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    SUSPENDED = "suspended"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = frozenset({RunStatus.CREATED, RunStatus.RUNNING, RunStatus.WAITING})
"""A conversation has at most one run in these states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What is stored about a run, kept in the same transaction as the events it follows from."""

    run_id: str
    conversation_id: str
    task: str
    mode: Mode
    status: RunStatus
    created_at: int
    started_at: int | None = None
    completed_at: int | None = None
    last_seq: int = 0
    error: str | None = None
    quality_score: float | None = None
    done_read: bool = False  # some watcher has been sent `done` (for the chat stream's reconnect rule)

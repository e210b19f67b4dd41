"""What goes into a workflow (`Turn`), how events come out (`Emit`), and what is known of a run (`RunState`).

`runs` knows workflows only by the `Workflow` protocol below, and who learns from runs or counts them only by the
`ChatMiddleware` protocol; app.py introduces them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol

from agentic_fleet.conversations import LOCAL, Message
from agentic_fleet.errors import FleetError
from agentic_fleet.events import StreamEvent

Mode = Literal["auto", "fast", "delegated", "sequential", "parallel", "handoff", "discussion"]
ReasoningEffort = Literal["minimal", "medium", "maximal"]
OnDisconnect = Literal["continue", "cancel"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to the team. `message` is 1..10,000 characters; `web/wire.py` has checked it."""

    message: str
    mode: Mode = "auto"
    reasoning_effort: ReasoningEffort | None = None
    enable_checkpointing: bool = True
    on_disconnect: OnDisconnect = "continue"
    require_plan_approval: bool = False
    instructions: str | None = None  # the caller's, for every agent, beside its own
    refine: bool = True  # False: the first version is the answer, so that text once shown stays true


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRequest:
    """What a human is asked. `request_id` is the same when the run comes to the same question again."""

    request_id: str
    request_type: str  # "ToolApproval", "PlanReview", "UserInput": decides the words a client shows
    request: Any  # JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A place between two phases from which a run can go on. `body` is the workflow's affair."""

    checkpoint_id: str
    phase: str  # the one that comes next
    at: int
    body: bytes


class Memory(Protocol):
    """What one run must not lose between its turns. Durable when the ask wants checkpoints; else for the run's life.

    Forgotten as a whole when the run completes. Methods raise StoreFailed.
    """

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None: ...

    async def checkpoints(self) -> list[Checkpoint]:
        """Oldest first."""
        ...

    async def step(self, key: str) -> bytes | None:
        """What was kept under `key`: the outcome of a finished step (a model's answer, a tool's result)."""
        ...

    async def keep_step(self, key: str, value: bytes) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """An ask with what the workflow may know beside it. A run has one turn, and one more per answer or resumption."""

    run_id: str
    conversation_id: str
    ask: Ask
    memory: Memory
    history: Sequence[Message] = ()  # the conversation before the ask, oldest first
    answers: Mapping[str, Any] = field(default_factory=dict)  # request_id -> what the human answered, so far
    checkpoint: Checkpoint | None = None  # where to go on; None: at the beginning
    retell: bool = False  # readers begin anew here: what was said before this turn is to be said again


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of all the model calls of a run. `cached_tokens` are of the prompts, `reasoning_tokens` of the rest."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer of a workflow. `text` equals the joined `response.delta` texts it emitted (of the winning version)."""

    text: str
    author: str
    agent_id: str
    quality_score: float | None = None
    quality_flag: str | None = None
    usage: Usage | None = None  # None: not known to the last token


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The workflow cannot go on without a human. It runs again, with the answers, from its last checkpoint."""

    requests: tuple[PendingRequest, ...]  # at least one, none of them answered yet


Emit = Callable[[StreamEvent], Awaitable[None]]
"""Hands one event to the run. Waits while the store is behind: that is the backpressure on the model."""


class Workflow(Protocol):
    """Thinking. Shared by all runs, so it holds no state of any; cancellation of `run` must reach the model."""

    async def run(self, turn: Turn, emit: Emit) -> Result | Pause:
        """Work until there is an answer or a question. Emits no `connected`, request, ending or `done`: the run does.

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
    owner: str = LOCAL  # the name of the caller who asked; nobody else sees the run
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
    ask: Ask | None = None  # to go on with after a restart
    pending_requests: tuple[PendingRequest, ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)  # request_id -> response


class Unfinished(FleetError):
    """A run's life ended without an answer. `status` says how: failed, cancelled, interrupted, or suspended until a
    human answers; all but a completed run can live again. The text is the reason, safe to show.
    """

    def __init__(self, status: RunStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ChatMiddleware(Protocol):
    """Follows runs: to keep their history, to count them. One object for all runs, which go on at the same time.

    For each life of a run (a run that goes on after its end has another one): `on_start`, `on_event` for each event,
    then either `on_end` or `on_error`. `on_start`, `on_end` and `on_error` are called in one task, so a ContextVar set
    in the first can be reset in the last; `on_event` in a task that has a copy of the context, so it finds the same
    object there but must not set the variable. A call that raises, or takes longer than a few seconds, harms neither
    the run nor other middleware; it is logged once per run, and no more events of the run come.
    """

    @property
    def tokens(self) -> bool | Literal["first"]:
        """Whether `on_event` is to hear of each token (events.TOKENS), too, or of a life's first one; an attribute
        will do. Each token that is heard costs the run some time.
        """
        return False

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        """A life begins. `context`: workflowId (the run's id), conversation_id, caller, mode, created_at (Unix
        milliseconds), history (the conversation before the task, messages) and resumed: the run has lived before.
        """
        ...

    async def on_event(self, event: StreamEvent) -> None:
        """An event that the store has and watchers may have seen; the ending and `done` too, just before they see it.
        The run waits for it.
        """
        ...

    async def on_end(self, result: Any) -> None:
        """The run has an answer, a `Result`; its ending is stored, and watchers see it when this returns."""
        ...

    async def on_error(self, error: Exception) -> None:
        """This life ended otherwise: `error` is an Unfinished. Stored and shown as with `on_end`."""
        ...

"""Memory that lasts: what a store does. `sqlite.py` is the embedded default, `memory.py` its twin for tests.

Every method either has happened, durably and whole, when it returns, or raises and has changed nothing. A method that
was cancelled while it waited may still happen, except `append` and `append_tokens`: a run's log shows what the store
has.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentic_fleet.conversations import NEW_CHAT, Conversation, Message, Opening
from agentic_fleet.events import Record
from agentic_fleet.executions import Execution, Quality
from agentic_fleet.turns import Checkpoint, RunState, RunStatus

KEY_LIFETIME = 24 * 3600 * 1000
"""Milliseconds for which an idempotency key is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """One of the run's owner. `fingerprint` identifies the request: the same key with another one is refused."""

    key: str
    fingerprint: str


class Store(Protocol):
    """Raises StoreFailed when the medium does (disk full, locked, broken); NotFound and Conflict as said below."""

    async def add_conversation(self, conversation: Conversation) -> None:
        """Keep a new conversation (without messages). Conflict when the id exists."""

    async def conversation(self, conversation_id: str, *, owner: str) -> Conversation:
        """One conversation with its messages, oldest first. NotFound, also when it is somebody else's."""
        ...

    async def conversations(self, *, owner: str, limit: int, offset: int) -> list[Conversation]:
        """The listed ones, without messages; the one with the newest `updated_at` first."""
        ...

    async def rename_conversation(self, conversation_id: str, title: str, *, owner: str) -> None:
        """Give it another title; its place in the list stays. NotFound, also when it is somebody else's."""

    async def drop_conversation(self, conversation_id: str, *, owner: str) -> None:
        """Forget it with its messages and runs, and all that is theirs. NotFound, also when it is somebody else's;
        Conflict while it has a live run."""

    async def messages(self, conversation_id: str, *, limit: int) -> list[Message]:
        """The newest `limit` messages, oldest of them first; empty for an unknown conversation."""
        ...

    async def add_run(
        self,
        run: RunState,
        question: Message,
        *,
        key: IdempotencyKey | None = None,
        create: bool = False,
        opening: Opening = NEW_CHAT,
    ) -> RunState:
        """Keep a new run with its question, in one step, and touch the conversation's `updated_at`.

        Returns `run`; or, when `key` was used within KEY_LIFETIME, the run it started (nothing is kept then).
        NotFound when the conversation does not exist, unless `create`, which makes it as `opening` says; also when it
        is not the run's owner's. The messages of `opening` come before the question in any case.
        Conflict when the conversation has a live run. KeyReused when the key came with another fingerprint.
        """
        ...

    async def append(
        self, run_id: str, records: Sequence[Record], *, state: RunState, answer: Message | None = None
    ) -> None:
        """Keep events, the run's state after them, and the assistant's message, in one step.

        Calls that wait at the same time share a transaction; one that fails does not spoil its neighbours.
        What the run was asked does not change. A run that is now COMPLETED loses its checkpoints and steps.
        NotFound when the run is gone (its conversation was dropped). Conflict when a run that had ended would become
        live beside another of its conversation.
        """

    async def append_tokens(self, parts: Sequence[tuple[str, Sequence[Record]]]) -> None:
        """Keep events that have changed nothing but their runs' `last_seq`, by run id: all or none. It is cheap, for
        tokens. NotFound when one of the runs is gone.
        """

    async def mark_done_read(self, run_id: str) -> None:
        """Some watcher was sent `done`. Unknown runs are ignored."""

    async def run(self, run_id: str) -> RunState:
        """NotFound."""
        ...

    async def runs(
        self,
        *,
        owner: str | None = None,
        statuses: Collection[RunStatus] | None = None,
        conversation_id: str | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[RunState]:
        """Newest first; of everybody without `owner`. Of a conversation: the last to begin first, whatever the clock
        said."""
        ...

    async def events(self, run_id: str, *, after: int, limit: int) -> list[Record]:
        """The records with `seq` > `after`, in order, at most `limit`; empty for an unknown run."""
        ...

    async def keep_checkpoint(self, run_id: str, checkpoint: Checkpoint) -> None:
        """Keep it as the run's newest; one with the same `checkpoint_id` is replaced. NotFound when the run is gone.

        A power cut may lose the newest checkpoints and steps: the run then does again what it had done last.
        """

    async def checkpoints(self, run_id: str) -> list[Checkpoint]:
        """In the order in which they were kept, oldest first; empty for an unknown run."""
        ...

    async def keep_step(self, run_id: str, key: str, value: bytes) -> None:
        """Keep the outcome of a step; one under the same key is replaced. NotFound when the run is gone."""

    async def steps(self, run_id: str) -> dict[str, bytes]:
        """The outcomes of all its steps by their keys, in no order; empty for an unknown run."""
        ...

    async def keep_execution(self, execution: Execution) -> None:
        """Keep it, or replace the run's earlier one, whose feedback stays. NotFound when its conversation is gone."""

    async def execution(self, workflow_id: str, *, owner: str) -> Execution:
        """NotFound."""
        ...

    async def executions(self, *, owner: str, limit: int, offset: int) -> list[Execution]:
        """The one of the newest run first."""
        ...

    async def count_executions(self, *, owner: str) -> int: ...

    async def drop_execution(self, workflow_id: str, *, owner: str) -> None:
        """NotFound. The run stays."""

    async def drop_executions(self, *, owner: str) -> list[str]:
        """Forget all of the owner's; which ones they were."""
        ...

    async def score_answer(self, run_id: str, quality: Quality, *, feedback: Mapping[str, Any] | None = None) -> None:
        """Give the run's answer that quality: its message, the run and its execution, in one step. Pending no more.

        A human's word counts always, and the last one stays. Any other quality is for an answer that is pending.
        NotFound when there is no such answer.
        """

    async def unscored(self, *, limit: int) -> list[str]:
        """The runs whose answers are pending, the oldest answer first."""
        ...

    async def ping(self) -> None:
        """Returns when a write would work now; StoreFailed says what is wrong."""

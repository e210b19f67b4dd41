"""Agent Framework's checkpoints, kept in the memory of the run they belong to.

The framework pickles what it cannot write as JSON. A body is therefore read by its restricted decoder only, which makes
nothing but the framework's own classes and those registered with `register_checkpoint_type` (messages.py does).
"""

from typing import Any, ClassVar, Protocol

import msgspec
from agent_framework import WorkflowCheckpoint, WorkflowCheckpointException

# the one encoding that keeps a graph's messages; the framework has no public name for it
from agent_framework._workflows._checkpoint_encoding import decode_checkpoint_value, encode_checkpoint_value

from agentic_fleet import jsontext
from agentic_fleet.errors import CheckpointUnreadable, FleetError
from agentic_fleet.events import now
from agentic_fleet.turns import Checkpoint, Memory

WORKFLOW = "fleet/1"
"""The graph's name and the version of what its checkpoints hold: raise it when a message or a phase changes."""

_OLD = "This checkpoint was made by another version of the service: the run cannot go on from it."
_DAMAGED = "This checkpoint is damaged: the run cannot go on from it."


class Message(Protocol):
    """What passes from phase to phase."""

    phase: ClassVar[str]  # the one it is for


class RunCheckpoints:
    """The framework's `CheckpointStorage` for one run.

    `failed` is what kept the last save from being done, and None when it was done: the framework goes on regardless.
    """

    def __init__(self, memory: Memory) -> None:
        self.failed: Exception | None = None
        self._memory = memory

    async def save(self, checkpoint: WorkflowCheckpoint) -> str:
        """Keep it, unless nothing is in flight: then the run is over. Refuses what could not be loaded."""
        try:
            if phase := _next_phase(checkpoint):
                body = jsontext.encode(encode_checkpoint_value(checkpoint.to_dict()))
                _decoded(body)
                kept = Checkpoint(checkpoint_id=checkpoint.checkpoint_id, phase=phase, at=now(), body=body)
                await self._memory.keep_checkpoint(kept)
        except Exception as error:  # whatever it is, the framework drops it with a warning
            self.failed = error
            raise
        self.failed = None
        return checkpoint.checkpoint_id

    async def load(self, checkpoint_id: str) -> WorkflowCheckpoint:
        """Raises CheckpointUnreadable when it is damaged, another version's, or not this run's."""
        for kept in await self._memory.checkpoints():
            if kept.checkpoint_id == checkpoint_id:
                return _decoded(kept.body)
        raise CheckpointUnreadable("This run has no such checkpoint.")

    async def list_checkpoints(self, *, workflow_name: str) -> list[WorkflowCheckpoint]:
        found = [_decoded(kept.body) for kept in await self._memory.checkpoints()]
        return [checkpoint for checkpoint in found if checkpoint.workflow_name == workflow_name]

    async def list_checkpoint_ids(self, *, workflow_name: str) -> list[str]:
        return [checkpoint.checkpoint_id for checkpoint in await self.list_checkpoints(workflow_name=workflow_name)]

    async def get_latest(self, *, workflow_name: str) -> WorkflowCheckpoint | None:
        return next(reversed(await self.list_checkpoints(workflow_name=workflow_name)), None)

    async def delete(self, checkpoint_id: str) -> bool:
        """A run's memory is forgotten as a whole: nothing is deleted here."""
        return False


def unreadable(error: WorkflowCheckpointException) -> FleetError:
    """What the framework found wrong while it restored a checkpoint, for a client; or that the store failed."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, FleetError):
            return cause
        cause = cause.__cause__
    return CheckpointUnreadable(_DAMAGED)


def _next_phase(checkpoint: WorkflowCheckpoint) -> str | None:
    """The phase that the message in flight is for; there is one at most. AttributeError, TypeError: it is none."""
    messages: list[Message] = [message.data for sent in checkpoint.messages.values() for message in sent]
    return messages[0].phase if messages else None


def _decoded(body: bytes) -> WorkflowCheckpoint:
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
        if raw.get("workflow_name") != WORKFLOW:
            raise CheckpointUnreadable(_OLD)
        checkpoint = WorkflowCheckpoint.from_dict(decode_checkpoint_value(raw, allowed_types=frozenset()))
        _next_phase(checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError, WorkflowCheckpointException, AttributeError, TypeError) as error:
        raise CheckpointUnreadable(_DAMAGED) from error
    return checkpoint

"""Where a run can go on from: before each phase, the message that the phase is given, in the memory of the run.

Phases keep nothing between messages, so the message is all there is to keep. The framework's own checkpoints hold the
same, but as a pickle, after several deep copies of every executor's empty state: an eighth of the CPU of a short run.
"""

import logging

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.conversations import new_id
from agentic_fleet.errors import CheckpointUnreadable, FleetError
from agentic_fleet.events import StreamEvent, StreamEventType, now
from agentic_fleet.turns import Checkpoint, Emit, Turn
from agentic_fleet.workflows.messages import Begun, Message

FORMAT = "fleet/2"
"""The version of what a checkpoint holds: raise it when a message or a phase changes."""

_OLD = "This checkpoint was made by another version of the service: the run cannot go on from it."
_DAMAGED = "This checkpoint is damaged: the run cannot go on from it."
_UNSAVED = StreamEvent(
    type=StreamEventType.ORCHESTRATOR_MESSAGE,
    kind="progress",
    message="A checkpoint could not be saved: if this run is stopped, it goes on from an earlier one.",
)

logger = logging.getLogger(__name__)


class _Named(msgspec.Struct, frozen=True, kw_only=True):
    format: str = ""


class _Body(_Named, frozen=True, kw_only=True):
    message: Message


class Checkpoints:
    """Those of one turn. It owns nothing: what is kept is the memory's."""

    def __init__(self, turn: Turn, emit: Emit) -> None:
        self._memory = turn.memory
        self._emit = emit
        self._stands_at_one = turn.checkpoint is not None  # its first phase has kept what it is given already
        self._told = False

    async def keep(self, message: Message) -> None:
        """A phase begins with `message`. When it cannot be kept, readers are told so once, and the run goes on."""
        if self._stands_at_one:
            self._stands_at_one = False
            return
        body = jsontext.encode(_Body(format=FORMAT, message=message))
        kept = Checkpoint(checkpoint_id=new_id(), phase=message.phase, at=now(), body=body)
        try:
            await self._memory.keep_checkpoint(kept)
        except FleetError as error:
            if not self._told:
                self._told = True
                logger.error("a checkpoint was not saved: %s", type(error).__name__)
                await self._emit(_UNSAVED)


def beginning(turn: Turn) -> Message:
    """What the turn's first phase is given. CheckpointUnreadable for a checkpoint that will not do."""
    return _read(turn.checkpoint.body) if turn.checkpoint else Begun()


def _read(body: bytes) -> Message:
    try:
        if msgspec.json.decode(body, type=_Named).format != FORMAT:
            raise CheckpointUnreadable(_OLD)
        return msgspec.json.decode(body, type=_Body).message
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointUnreadable(_DAMAGED) from error

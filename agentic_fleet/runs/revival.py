"""Going on with a run that has ended: what it was asked, what it has done, and where it stood."""

from agentic_fleet.conversations import Message
from agentic_fleet.errors import Conflict, NotFound
from agentic_fleet.runs.memory import DurableMemory
from agentic_fleet.store import Store
from agentic_fleet.turns import LIVE, RunState, RunStatus, Turn

HISTORY = 50
"""Earlier messages of the conversation that a workflow is given; it keeps what fits its model."""


async def continuation(store: Store, state: RunState, checkpoint_id: str | None) -> Turn:
    """The turn with which the run goes on, from the named checkpoint or its last. NotFound, Conflict."""
    if state.status is RunStatus.COMPLETED:
        raise Conflict("The run has completed.")
    if state.ask is None or not state.ask.enable_checkpointing:
        raise Conflict("The run kept no checkpoints.")
    if await store.runs(statuses=LIVE, conversation_id=state.conversation_id, limit=1):
        raise Conflict("This conversation already has a live run.")
    memory = DurableMemory(store, state.run_id)
    kept = [each for each in await memory.checkpoints() if checkpoint_id in (None, each.checkpoint_id)]
    if checkpoint_id is not None and not kept:
        raise NotFound("There is no such checkpoint.")
    if checkpoint_id is not None:  # the last one from now on: after a pause, too, the run goes on from here
        await memory.keep_checkpoint(kept[-1])
    return Turn(
        run_id=state.run_id,
        conversation_id=state.conversation_id,
        ask=state.ask,
        memory=memory,
        history=await history_of(store, state),
        answers=state.answers,
        checkpoint=kept[-1] if kept else None,
        retell=True,
    )


async def history_of(store: Store, state: RunState) -> list[Message]:
    """The conversation as it was when the run was asked."""
    messages = await store.messages(state.conversation_id, limit=2 * HISTORY)
    places = [place for place, message in enumerate(messages) if message.workflow_id == state.run_id]
    return list(messages[: places[0]] if places else messages)[-HISTORY:]

"""How a run begins: what is kept of it before anything else happens."""

from agentic_fleet import context
from agentic_fleet.conversations import Message, new_id
from agentic_fleet.events import now
from agentic_fleet.turns import Ask, RunState, RunStatus


def asked(conversation_id: str, ask: Ask) -> tuple[RunState, Message]:
    """A new run of this caller's, and its question."""
    at, run_id = now(), new_id()
    state = RunState(
        run_id=run_id,
        conversation_id=conversation_id,
        owner=context.caller.get(),
        task=ask.message,
        mode=ask.mode,
        status=RunStatus.CREATED,
        created_at=at,
        ask=ask,
    )
    question = Message(
        id=new_id(),
        conversation_id=conversation_id,
        role="user",
        content=ask.message,
        created_at=at,
        workflow_id=run_id,
    )
    return state, question

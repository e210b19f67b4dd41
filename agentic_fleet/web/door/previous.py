"""Going on from an earlier response: in its conversation when it was the last word there, else in a copy up to it.

OpenAI's responses form a tree: two requests may go on from the same one, at the same time too. A conversation of ours
is a line with at most one live run, so a branch gets a conversation of its own.
"""

from collections.abc import Sequence
from dataclasses import replace

from agentic_fleet.conversations import Message, new_id
from agentic_fleet.errors import Conflict, NotFound
from agentic_fleet.turns import LIVE, Ask, RunState
from agentic_fleet.web.door.refusals import Refusal
from agentic_fleet.web.door.words import Question
from agentic_fleet.web.parts import Parts

PREFIX = "resp_"


async def start(parts: Parts, ask: Ask, question: Question, previous: str | None) -> RunState:
    """The question's run. Raises Refusal when there is no such response, or it is still being made."""
    if previous is None:
        return await _branch(parts, ask, question, ())
    earlier = await _earlier(parts, previous)
    (newest,) = await parts.store.runs(conversation_id=earlier.conversation_id, limit=1)
    if newest.run_id == earlier.run_id:
        opening = question.opening(earlier.conversation_id)
        try:
            return await parts.runs.start(earlier.conversation_id, ask, opening=opening)
        except Conflict:  # somebody else has just gone on from here
            pass
    messages = (await parts.store.conversation(earlier.conversation_id, owner=earlier.owner)).messages
    return await _branch(parts, ask, question, _until(messages, earlier.run_id))


async def _earlier(parts: Parts, previous: str) -> RunState:
    try:
        state = await parts.runs.state(previous.removeprefix(PREFIX) if previous.startswith(PREFIX) else "")
    except NotFound:
        message = f"Previous response with id {previous[:100]!r} not found."
        raise Refusal(message, param="previous_response_id", code="previous_response_not_found") from None
    if state.status in LIVE:
        message = "The previous response is still being made."
        raise Refusal(message, status=409, param="previous_response_id", code="response_in_progress")
    return state


async def _branch(parts: Parts, ask: Ask, question: Question, before: Sequence[Message]) -> RunState:
    conversation_id = new_id()
    copies = [replace(message, id=new_id(), conversation_id=conversation_id) for message in before]
    opening = question.opening(conversation_id, copies)
    return await parts.runs.start(conversation_id, ask, create=True, opening=opening)


def _until(messages: Sequence[Message], run_id: str) -> Sequence[Message]:
    """What had been said when the run had ended."""
    last = max((place for place, message in enumerate(messages) if message.workflow_id == run_id), default=-1)
    return messages[: last + 1]

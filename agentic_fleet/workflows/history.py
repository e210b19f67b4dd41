"""What was said so far, as much of it as fits: the conversation with the user, and the talk among agents.

A long message keeps its beginning and its end, so that one long answer never pushes out the question it answers. What
comes out depends on the messages and the bounds alone: a run that is carried out again sends the same prompts.
"""

import json
from collections.abc import Sequence

from agent_framework import CharacterEstimatorTokenizer, Message, TruncationStrategy, apply_compaction

from agentic_fleet import conversations
from agentic_fleet.workflows.agents import Bounds
from agentic_fleet.workflows.plans import Said

CHARACTERS = 4  # per token, as the framework's estimate has it
_FRAME = 160  # characters that it counts for a message beside its text: the message is measured as JSON
_SHARE = 2  # a message gets one part in so many of the room: a question and its answer both fit
_SPOKEN = {"user": "User", "assistant": "Team"}


async def history_messages(history: Sequence[conversations.Message], bounds: Bounds) -> list[Message]:
    """The newest `history_messages` within `history_tokens`, from a user's message on: chat templates insist on that.

    Tokens are estimated. Asynchronous only because the framework's compaction is.
    """
    newest = history[-bounds.history_messages :] if bounds.history_messages else ()
    room = bounds.history_tokens * CHARACTERS // _SHARE - _FRAME
    strategy = TruncationStrategy(
        max_n=bounds.history_tokens, compact_to=bounds.history_tokens, tokenizer=CharacterEstimatorTokenizer()
    )
    messages = [Message(message.role, [_fitting(message.content, room)]) for message in newest]
    kept = await apply_compaction(messages, strategy=strategy, tokenizer=strategy.tokenizer)
    while kept and kept[0].role == "assistant":
        kept.pop(0)
    return kept


async def history_text(history: Sequence[conversations.Message], bounds: Bounds) -> str:
    """The same as text, who spoke before each; empty at the beginning of a conversation."""
    return "\n".join(f"{_SPOKEN[message.role]}: {message.text}" for message in await history_messages(history, bounds))


def minutes(said: Sequence[Said], characters: int) -> str:
    """Who said what among the agents, in order. Each contribution has an equal share of about `characters`."""
    share = characters // max(1, len(said))
    return "\n\n".join(f"## {agent}\n{both_ends(text, share)}" for agent, text in said)


def both_ends(text: str, most: int) -> str:
    """The beginning and the end of a text longer than `most` characters: they say what it is and whether it is whole.

    The mark between them comes on top.
    """
    half = max(1, most // 2)
    return text if len(text) <= most else f"{text[:half]}\n[...]\n{text[-half:]}"


def _fitting(text: str, room: int) -> str:
    """Cut so that it fits as JSON, where line ends and quotes take two characters."""
    cut = both_ends(text, room)
    return both_ends(text, room * len(cut) // max(1, len(json.dumps(cut, ensure_ascii=False)) - len('""')))

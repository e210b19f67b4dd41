"""The framework's messages as plain JSON, and back: for those who keep or study conversations without the framework."""

from collections.abc import Mapping
from typing import Any

from agent_framework import Message


def is_message(value: object) -> bool:
    return isinstance(value, Message)


def plain(message: Message) -> dict[str, Any]:
    """`role`, `text` and `author`; under `whole` all of it, when it is more than that one text."""
    said = {"role": str(message.role), "text": message.text, "author": message.author_name}
    whole = message.to_dict()
    return said if whole == framed(said).to_dict() else {**said, "whole": whole}


def framed(said: Mapping[str, Any]) -> Message:
    """The message that `plain` was made of."""
    if whole := said.get("whole"):
        return Message.from_dict(dict(whole))
    return Message(said["role"], [said["text"]], author_name=said.get("author"))

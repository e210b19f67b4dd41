"""Conversations and their messages, as they are kept. Times are Unix milliseconds."""

import secrets
from dataclasses import dataclass
from typing import Literal

LOCAL = "local"
"""The one caller of a service without keys."""


def new_id() -> str:
    """A fresh identifier: 80 random bits, 20 hexadecimal digits; matches ``^[A-Za-z0-9_-]{1,64}$``."""
    return secrets.token_hex(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    id: str
    conversation_id: str
    role: Literal["user", "assistant"]
    content: str
    created_at: int
    author: str | None = None
    agent_id: str | None = None
    workflow_id: str | None = None
    quality_score: float | None = None  # 0..10
    quality_flag: str | None = None
    quality_pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    id: str
    owner: str = LOCAL  # a caller's name
    title: str
    created_at: int
    updated_at: int
    messages: tuple[Message, ...] = ()
    listed: bool = True  # one that a program made for a single question is found by its runs, not in the list


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a run brings along: what was said before its question, and how its conversation begins if it is new."""

    messages: tuple[Message, ...] = ()
    title: str = "New Chat"
    listed: bool = True


NEW_CHAT = Opening()

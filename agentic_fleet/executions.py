"""What runs did, as it is kept for people to look back at and for programs to learn from: the history.

One execution per run, however many lives that has had; it is written when a life ends, and is no part of the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agentic_fleet.conversations import LOCAL

ScoredBy = Literal["rules", "model", "human"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good an answer is, and who says so. No score: nobody has said it yet, or there is no answer."""

    score: float | None = None  # 0..10
    flag: str | None = None  # empty, refusal, low_confidence
    by: ScoredBy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """`account` is what the run did, as JSON (learning/account.py says which); `feedback` what a human said of it."""

    workflow_id: str  # the run's id
    owner: str = LOCAL  # a caller's name
    conversation_id: str | None = None
    created_at: int  # Unix milliseconds, when the run was asked
    quality: Quality = field(default_factory=Quality)
    feedback: Mapping[str, Any] | None = None
    account: Mapping[str, Any]

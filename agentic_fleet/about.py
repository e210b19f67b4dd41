"""What the service says about itself: its agents and the state of its parts."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """One member of the team, as `GET /api/v1/agents` lists it."""

    name: str
    description: str
    type: str = "agent"
    tools: tuple[str, ...] = ()
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The state of one part. `detail` is a sentence a person can act on; a "warning" is no reason to stop it all."""

    status: Literal["ok", "warning", "starting", "failed"]
    detail: str

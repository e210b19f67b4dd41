"""The team as data: who its members are, what they are told, and the bounds they work within (fleet.toml).

Everything is checked when it is read, with errors that name the key, so that no run finds out later.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from agent_framework import Agent, BaseChatClient, ChatOptions

from agentic_fleet.about import AgentCard
from agentic_fleet.errors import BadSetting

T = TypeVar("T")

PACKAGED = Path(__file__).with_name("fleet.toml")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000, pattern=r"\S")]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Characters = Annotated[int, msgspec.Meta(ge=100, le=1_000_000)]


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One agent. `cues` are the words of a task that call for it: see `pattern`."""

    name: str
    description: _Text
    instructions: _Text
    skill: _Text
    cues: tuple[_Text, ...] = ()
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds a cue: at the beginning of a word, in any case; one that ends in "." must be the whole word."""
        longest_first = sorted(self.cues, key=len, reverse=True)
        return re.compile("|".join(map(_cue, longest_first)) or r"(?!)", re.IGNORECASE)


class Bounds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [workflow]. Times are seconds; what each means stands beside it in the packaged fleet.toml."""

    fast_agent: str
    synthesis_agent: str
    max_agents: Annotated[int, msgspec.Meta(ge=1, le=8)] = 3
    history_messages: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 8
    history_characters: _Characters = 2_400
    handover_characters: _Characters = 3_600
    max_answer_characters: _Characters = 40_000
    agent_timeout: _Seconds = 120.0
    decision_timeout: _Seconds = 30.0
    pass_score: Annotated[float, msgspec.Meta(ge=0, le=10)] = 6.0


class Roster(Mapping[str, Member]):
    """The members by name, in the order of the file, and the bounds of the workflow. Immutable."""

    def __init__(self, members: Mapping[str, Member], bounds: Bounds) -> None:
        self._members = dict(members)
        self.bounds = bounds

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def cards(self, model_name: str) -> tuple[AgentCard, ...]:
        return tuple(AgentCard(name=m.name, description=m.description, model=model_name) for m in self.values())

    def skills(self, names: tuple[str, ...]) -> list[str]:
        return [self[name].skill for name in names]


def load_roster(path: Path | None = None) -> Roster:
    """The roster in the file, or the packaged one. Raises BadSetting, naming the file and the key."""
    name = f"FLEET_ROSTER: {path.name}" if path else PACKAGED.name
    path = path or PACKAGED
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(f"{name} could not be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{name} is not valid TOML: {error}") from None
    try:
        return _roster(raw)
    except ValueError as error:
        raise BadSetting(f"{name}: {error}") from None


def build_team(roster: Roster, chat: BaseChatClient[Any]) -> dict[str, Agent[Any]]:
    """One Agent Framework agent per member, over one client; stateless, so all runs share them."""
    return {
        member.name: Agent(
            chat,
            instructions=member.instructions,
            name=member.name,
            description=member.description,
            default_options=_options(member),
        )
        for member in roster.values()
    }


def _roster(raw: dict[str, Any]) -> Roster:
    """Raises ValueError with the key and what is wrong with it."""
    if unknown := raw.keys() - {"workflow", "agents"}:
        raise ValueError(f"{min(unknown)}: unknown table")
    bounds = _checked(raw.get("workflow", {}), Bounds, "workflow")
    agents = raw.get("agents", {})
    if not isinstance(agents, dict) or not agents:
        raise ValueError("agents: there must be at least one [agents.NAME]")
    members = {name: _member(name, table) for name, table in agents.items()}
    for key in ("fast_agent", "synthesis_agent"):
        if getattr(bounds, key) not in members:
            raise ValueError(f"workflow.{key}: there is no agent {getattr(bounds, key)!r}")
    return Roster(members, bounds)


def _member(name: str, table: Any) -> Member:
    if not _NAME.fullmatch(name):
        raise ValueError(f"agents.{name}: a name is a small letter and up to 31 of a-z, 0-9, _ and -")
    if not isinstance(table, dict) or "name" in table:
        raise ValueError(f"agents.{name}: must be a table without the key 'name'")
    return _checked({**table, "name": name}, Member, f"agents.{name}")


def _checked(table: Any, type: type[T], key: str) -> T:
    try:
        return msgspec.convert(table, type)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise ValueError(f"{key}{place.rstrip('`')}: {problem[:1].lower()}{problem[1:]}") from None


def _cue(cue: str) -> str:
    start = r"(?<!\w)" if cue[0].isalnum() else ""
    end = r"(?!\w)" if cue.endswith(".") else ""
    return start + re.escape(cue.removesuffix(".")) + end


def _options(member: Member) -> ChatOptions[Any]:
    options = ChatOptions[Any]()
    if member.temperature is not None:
        options["temperature"] = member.temperature
    if member.max_tokens is not None:
        options["max_tokens"] = member.max_tokens
    return options

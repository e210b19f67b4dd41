"""The team as data: who its members are, what they are told, their tools, and the bounds of their work (fleet.toml).

Everything is checked when it is read, with errors that name the key, so that no run finds out later.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from agent_framework import Agent, BaseChatClient, ChatOptions, MiddlewareTypes

from agentic_fleet.about import AgentCard
from agentic_fleet.errors import BadSetting
from agentic_fleet.turns import ReasoningEffort
from agentic_fleet.workflows.models import Model
from agentic_fleet.workflows.tools.builtin import BUILT_IN
from agentic_fleet.workflows.tools.spec import ToolSpec
from agentic_fleet.workflows.tools.toolbox import Toolbox

T = TypeVar("T")

PACKAGED = Path(__file__).with_name("fleet.toml")
EFFORT: Mapping[ReasoningEffort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}
"""A request's `reasoning_effort` in OpenAI's words."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4000, pattern=r"\S")]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
_Characters = Annotated[int, msgspec.Meta(ge=100, le=1_000_000)]
_Score = Annotated[float, msgspec.Meta(ge=0, le=10)]


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One agent. `cues` are the words of a task that call for it: see `pattern`."""

    name: str
    description: _Text
    instructions: _Text
    skill: _Text
    cues: tuple[_Text, ...] = ()
    tools: tuple[str, ...] = ()
    model: _Text | None = None  # another one at the same endpoint
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None  # in OpenAI's words

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
    history_tokens: Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] = 600
    handover_characters: _Characters = 3_600
    max_answer_characters: _Characters = 40_000
    agent_timeout: _Seconds = 120.0
    decision_timeout: _Seconds = 30.0
    phase_timeout: _Seconds = 300.0
    pass_score: _Score = 6.0
    max_refinements: Annotated[int, msgspec.Meta(ge=0, le=5)] = 1
    min_improvement: _Score = 0.5
    discussion_rounds: Annotated[int, msgspec.Meta(ge=2, le=40)] = 6
    handoff_turns: Annotated[int, msgspec.Meta(ge=1, le=40)] = 6
    plan_cache_ttl: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0
    plan_cache_size: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 256


class Roster(Mapping[str, Member]):
    """The members by name, in the order of the file, and the bounds of the workflow. Immutable.

    `tools` are those with a table, by name; a member may have built-in ones beside them.
    """

    def __init__(
        self, members: Mapping[str, Member], bounds: Bounds, tools: Mapping[str, ToolSpec] | None = None
    ) -> None:
        self._members = dict(members)
        self.bounds = bounds
        self.tools = MappingProxyType(dict(tools or {}))

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def cards(self, model_name: str) -> tuple[AgentCard, ...]:
        """`model_name` is that of the members without a model of their own."""
        return tuple(
            AgentCard(name=m.name, description=m.description, tools=m.tools, model=m.model or model_name)
            for m in self.values()
        )

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


def build_team(
    roster: Roster, model: Model, toolbox: Toolbox | None = None, middleware: Sequence[MiddlewareTypes] = ()
) -> dict[str, Agent[Any]]:
    """One Agent Framework agent per member; stateless, so all runs share them. Without `toolbox` they have no tools.

    Raises BadSetting for a member's model that the provider does not have.
    """
    clients = {name: _client(roster, model, name) for name in {member.model for member in roster.values()}}
    return {
        member.name: Agent(
            clients[member.model],
            instructions=member.instructions,
            name=member.name,
            description=member.description,
            tools=toolbox.of(member.tools) if toolbox else None,
            default_options=_options(member, takes_effort=model.provider != "embedded"),
            middleware=list(middleware),
        )
        for member in roster.values()
    }


def _roster(raw: dict[str, Any]) -> Roster:
    """Raises ValueError with the key and what is wrong with it."""
    if unknown := raw.keys() - {"workflow", "agents", "tools"}:
        raise ValueError(f"{min(unknown)}: unknown table")
    bounds = _checked(raw.get("workflow", {}), Bounds, "workflow")
    agents = raw.get("agents", {})
    if not isinstance(agents, dict) or not agents:
        raise ValueError("agents: there must be at least one [agents.NAME]")
    tools = _tools(raw.get("tools", {}))
    members = {name: _member(name, table, tools.keys() | BUILT_IN) for name, table in agents.items()}
    for key in ("fast_agent", "synthesis_agent"):
        if getattr(bounds, key) not in members:
            raise ValueError(f"workflow.{key}: there is no agent {getattr(bounds, key)!r}")
    return Roster(members, bounds, tools)


def _member(name: str, table: Any, tools: Set[str]) -> Member:
    member = _named(name, table, Member, "agents")
    for tool in member.tools:
        if tool not in tools:
            raise ValueError(f"agents.{name}.tools: there is no tool {tool!r}")
    return member


def _tools(tables: Any) -> dict[str, ToolSpec]:
    if not isinstance(tables, dict):
        raise ValueError("tools: must hold tables [tools.NAME]")
    return {name: _tool(name, table) for name, table in tables.items()}


def _tool(name: str, table: Any) -> ToolSpec:
    spec = _named(name, table, ToolSpec, "tools")
    given = [key for key in ("function", "command", "url") if getattr(spec, key)]
    if name in BUILT_IN and given:
        raise ValueError(f"tools.{name}.{given[0]}: {name} is a built-in tool")
    if name not in BUILT_IN and len(given) != 1:
        raise ValueError(f"tools.{name}: needs exactly one of function, command and url")
    return spec


def _named(name: str, table: Any, type: type[T], place: str) -> T:
    """A table whose key is its name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{place}.{name}: a name is a small letter and up to 31 of a-z, 0-9, _ and -")
    if not isinstance(table, dict) or "name" in table:
        raise ValueError(f"{place}.{name}: must be a table without the key 'name'")
    return _checked({**table, "name": name}, type, f"{place}.{name}")


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


def _client(roster: Roster, model: Model, name: str | None) -> BaseChatClient[Any]:
    if name is None:
        return model.chat
    try:
        return model.named(name)
    except BadSetting as error:
        wanted = next(member.name for member in roster.values() if member.model == name)
        raise BadSetting(f"FLEET_ROSTER: agents.{wanted}.model: {error}") from None


def _options(member: Member, *, takes_effort: bool) -> ChatOptions[Any]:
    keys = ("temperature", "top_p", "max_tokens", *(("reasoning_effort",) if takes_effort else ()))
    return cast(ChatOptions[Any], {key: value for key in keys if (value := getattr(member, key)) is not None})

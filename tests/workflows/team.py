"""What the tests of the supervisor share: a team over the fake model, a script for it, and a screen to watch it on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from agentic_fleet.about import Check
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Ask, Turn
from agentic_fleet.workflows.agents import Roster, build_team, load_roster
from agentic_fleet.workflows.chat import CompletionsChatClient
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.fleet import Fleet
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.models import Model
from tests.fake_openai import Body, Reply, answer

TASK = "Explain what tides are and then write a short poem about them for our harbour museum."


def turn(message: str = TASK, **ask: Any) -> Turn:
    return Turn(run_id="r1", conversation_id="c1", ask=Ask(message=message, **ask))


def bounded(**bounds: Any) -> Roster:
    """The packaged roster with other bounds."""
    roster = load_roster()
    return Roster(roster, msgspec.structs.replace(roster.bounds, **bounds))


def fleet_over(completions: Completions, *, roster: Roster | None = None, by_model: bool = True) -> Fleet:
    configure_dspy()
    roster = roster or load_roster()
    decisions = Decisions(roster, lm=build_lm(completions) if by_model else None)
    return Fleet(roster, build_team(roster, CompletionsChatClient(completions)), decisions, takes_effort=True)


def model_over(completions: Completions, *, small: bool) -> Model:
    return Model(
        name="m",
        provider="embedded" if small else "openai",
        small=small,
        completions=completions,
        chat=CompletionsChatClient(completions),
        lm=build_lm(completions),
        check=lambda: Check(status="ok", detail="fine"),
    )


@dataclass
class Script:
    """A reply for the fake model: a plan, an assessment, and what each agent says (its own words by default)."""

    plan: Mapping[str, Any] = field(default_factory=dict)
    assessment: Mapping[str, Any] = field(default_factory=lambda: {"verdict": "complete", "score": 9, "missing": ""})
    says: dict[str, Reply] = field(default_factory=dict)

    def __call__(self, body: Body) -> Reply:
        match decision(body):
            case "plan":
                return Reply(tokens=[json.dumps(self.plan)])
            case "assessment":
                return Reply(tokens=[json.dumps(self.assessment)])
        return self.says.get(speaker(body)) or answer(body)


def plan(mode: str, *agents: str) -> dict[str, Any]:
    named = {f"agent_{place}": agent for place, agent in enumerate(agents, start=1)}
    parts = {f"part_{place}": f"the part of {agent}" for place, agent in enumerate(agents, start=1)}
    return {"complexity": "complex", "mode": mode, **named, **parts}


def decision(body: Body) -> str | None:
    """Which decision the model is asked for, if any."""
    wanted = body.get("response_format")
    if not wanted:
        return None
    return "plan" if "mode" in wanted["json_schema"]["schema"]["properties"] else "assessment"


def speaker(body: Body) -> str:
    """Which agent the model is asked to be."""
    system = body["messages"][0]["content"]
    return next(name for name, member in load_roster().items() if system == member.instructions)


def says(*tokens: str, **reply: Any) -> Reply:
    return Reply(tokens=tokens, **reply)


@dataclass
class Screen:
    """An `Emit` that keeps what it was given."""

    events: list[StreamEvent] = field(default_factory=list)

    async def __call__(self, event: StreamEvent) -> None:
        self.events.append(event)

    def text(self, type: StreamEventType = StreamEventType.RESPONSE_DELTA, agent: str | None = None) -> str:
        return "".join(e.delta or "" for e in self.events if e.type is type and agent in (None, e.agent_id))

    def of(self, type: StreamEventType) -> list[StreamEvent]:
        return [event for event in self.events if event.type is type]

    def thought(self, kind: str) -> dict[str, Any]:
        (found,) = [e for e in self.of(StreamEventType.ORCHESTRATOR_THOUGHT) if e.kind == kind]
        return found.data or {}

    def story(self) -> list[str]:
        """Type, and agent or kind, of each event; equal neighbours once."""
        lines = [" ".join(filter(None, (event.type, event.agent_id or event.kind))) for event in self.events]
        return [line for at, line in enumerate(lines) if at == 0 or lines[at - 1] != line]


def with_history(turn_: Turn, *history: Any) -> Turn:
    return replace(turn_, history=history)


def roster_file(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return path

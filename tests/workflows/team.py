"""What the tests of the supervisor share: a team over the fake model, a script for it, and a screen to watch it on."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import msgspec

from agentic_fleet.about import Check
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.testing import Body, Reply, answer
from agentic_fleet.turns import Ask, Checkpoint, Emit, Memory, Pause, Result, Turn
from agentic_fleet.workflows.agents import Roster, build_team, load_roster
from agentic_fleet.workflows.chat import CompletionsChatClient
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.fleet import Fleet
from agentic_fleet.workflows.journal import Journaled
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.models import Model
from agentic_fleet.workflows.shelf import Shelf
from agentic_fleet.workflows.tools.spec import ToolSpec
from agentic_fleet.workflows.tools.toolbox import Toolbox, open_toolbox

TASK = "Explain what tides are and then write a short poem about them for our harbour museum."
PHASES = ["analysis", "routing", "execution", "progress", "quality"]
GOOD_ANSWER = "The moon pulls at the sea, and so tides rise and fall twice a day in the harbour."


@dataclass
class Notebook:
    """A run's memory, in dictionaries."""

    kept: dict[str, Checkpoint] = field(default_factory=dict)
    steps: dict[str, bytes] = field(default_factory=dict)

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.kept[checkpoint.checkpoint_id] = checkpoint

    async def checkpoints(self) -> list[Checkpoint]:
        return list(self.kept.values())

    async def step(self, key: str) -> bytes | None:
        return self.steps.get(key)

    async def keep_step(self, key: str, value: bytes) -> None:
        self.steps[key] = value

    @property
    def phases(self) -> list[str]:
        """Those that a run could go on with."""
        return [checkpoint.phase for checkpoint in self.kept.values()]

    def before(self, phase: str) -> Checkpoint:
        return [checkpoint for checkpoint in self.kept.values() if checkpoint.phase == phase][-1]


def turn(message: str = TASK, *, memory: Memory | None = None, **ask: Any) -> Turn:
    return Turn(run_id="r1", conversation_id="c1", ask=Ask(message=message, **ask), memory=memory or Notebook())


def answered(before: Turn, pause: Pause, *answers: Any) -> Turn:
    """The turn after a human has answered all that `pause` asks, in its order: the log simply goes on."""
    assert isinstance(before.memory, Notebook)
    given = {request.request_id: answer for request, answer in zip(pause.requests, answers, strict=True)}
    newest = list(before.memory.kept.values())[-1]
    return replace(before, answers={**before.answers, **given}, checkpoint=newest, retell=False)


def resumed(stopped: Turn, *, at: Checkpoint) -> Turn:
    """The turn of a run that had ended and goes on at that checkpoint: readers begin anew."""
    return replace(stopped, checkpoint=at, retell=True)


def bounded(**bounds: Any) -> Roster:
    """The packaged roster with other bounds."""
    roster = load_roster()
    return Roster(roster, msgspec.structs.replace(roster.bounds, **bounds))


def fleet_over(
    completions: Completions,
    *,
    roster: Roster | None = None,
    by_model: bool = True,
    toolbox: Toolbox | None = None,
    folder: Path | None = None,
) -> Fleet:
    """`folder` has the decision programs in force, if any."""
    configure_dspy()
    roster = roster or load_roster()
    model = model_over(completions, small=False)
    decisions = Decisions(roster, lm=model.lm if by_model else None)
    team = build_team(roster, model, toolbox, [toolbox.gate] if toolbox else [])
    shelf = Shelf(folder or Path("nowhere"), roster, decisions.programs)
    return Fleet(roster, team, decisions, takes_effort=True, toolbox=toolbox, shelf=shelf)


PAID: list[int] = []


def pay(amount: int) -> str:
    """Pay so many euros."""
    PAID.append(amount)
    return f"paid {amount}"


@asynccontextmanager
async def paying_fleet(completions: Completions, **bounds: Any) -> AsyncIterator[Fleet]:
    """Everybody in it may pay, when a human approves, and may ask the user."""
    PAID.clear()
    tools = {"pay": ToolSpec(name="pay", function=f"{__name__}:pay", approval=True)}
    plain = bounded(**bounds)
    members = {name: msgspec.structs.replace(member, tools=("pay", "ask_user")) for name, member in plain.items()}
    async with open_toolbox(tools, {"pay", "ask_user"}) as toolbox:
        yield fleet_over(completions, roster=Roster(members, plain.bounds, tools), toolbox=toolbox)


def model_over(completions: Completions, *, small: bool) -> Model:
    completions = Journaled(completions)
    return Model(
        name="m",
        provider="embedded" if small else "openai",
        small=small,
        completions=completions,
        chat=CompletionsChatClient(completions),
        lm=build_lm(completions),
        check=lambda: Check(status="ok", detail="fine"),
    )


async def finished(fleet: Fleet, turn_: Turn, emit: Emit) -> Result:
    outcome = await fleet.run(turn_, emit)
    assert isinstance(outcome, Result)
    return outcome


async def paused(fleet: Fleet, turn_: Turn, emit: Emit) -> Pause:
    outcome = await fleet.run(turn_, emit)
    assert isinstance(outcome, Pause)
    return outcome


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
    _shown: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, event: StreamEvent) -> None:
        self.events.append(event)
        self._shown.set()
        self._shown = anyio.Event()

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        while not predicate():
            await self._shown.wait()

    def text(self, type: StreamEventType = StreamEventType.RESPONSE_DELTA, agent: str | None = None) -> str:
        return "".join(e.delta or "" for e in self.events if e.type is type and agent in (None, e.agent_id))

    def of(self, type: StreamEventType) -> list[StreamEvent]:
        return [event for event in self.events if event.type is type]

    def thought(self, kind: str) -> dict[str, Any]:
        (found,) = self.thoughts(kind)
        return found

    def thoughts(self, kind: str) -> list[dict[str, Any]]:
        return [e.data or {} for e in self.of(StreamEventType.ORCHESTRATOR_THOUGHT) if e.kind == kind]

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


def assert_told_once(screen: Screen) -> None:
    for type in (StreamEventType.AGENT_START, StreamEventType.AGENT_OUTPUT, StreamEventType.AGENT_COMPLETE):
        agents = [event.agent_id for event in screen.of(type)]
        assert len(agents) == len(set(agents)), f"{type} twice: {agents}"
    kinds = [event.kind for event in screen.of(StreamEventType.ORCHESTRATOR_THOUGHT)]
    assert kinds == PHASES
    assert [event.message for event in screen.of(StreamEventType.ORCHESTRATOR_MESSAGE)] == ["The team is at work."]


def decisions_over(endpoint: Endpoint, **bounds: Any) -> Decisions:
    configure_dspy()
    return Decisions(bounded(**bounds), lm=build_lm(endpoint))

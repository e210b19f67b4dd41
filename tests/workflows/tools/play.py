"""A stage for one agent with tools: a scripted model in this process, a memory, and a screen."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent_framework import Agent, FunctionTool

from agentic_fleet.errors import StoreFailed
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Ask, Checkpoint, PendingRequest, Turn
from agentic_fleet.workflows.chat import CompletionsChatClient
from agentic_fleet.workflows.completions import Chunk
from agentic_fleet.workflows.desk import Desk, Part, Paused, at, playing
from agentic_fleet.workflows.journal import Journaled
from agentic_fleet.workflows.tools.gate import Gate
from agentic_fleet.workflows.tools.spec import ToolSpec
from agentic_fleet.workflows.tools.toolbox import Toolbox, open_toolbox
from agentic_fleet.workflows.usage import Usage

AGENT = "writer"
Calls = Sequence[tuple[str, Mapping[str, Any]]]
Line = str | Calls


class Scripted:
    """A `Completions` that says its lines in order: a text, or calls of tools."""

    name = "scripted"
    constrained = False

    def __init__(self, *lines: Line) -> None:
        self.bodies: list[Mapping[str, Any]] = []
        self._lines = lines

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        self.bodies.append(body)
        place = sum(message["role"] == "assistant" for message in body["messages"])
        line = self._lines[place]
        if isinstance(line, str):
            yield _chunk({"content": line}, "stop")
        else:
            yield _chunk({"tool_calls": [_call(place, index, *call) for index, call in enumerate(line)]}, "tool_calls")

    def told(self) -> list[str]:
        """What the tools said, as the model was last told."""
        return [message["content"] for message in self.bodies[-1]["messages"] if message["role"] == "tool"]


def _chunk(delta: Mapping[str, Any], finish: str) -> Chunk:
    return {"id": "a", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _call(place: int, index: int, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool, "arguments": json.dumps(arguments)}
    return {"index": index, "id": f"call_{place}_{index}", "type": "function", "function": function}


class Notebook:
    """A `Memory` in a dict. When `broken`, it keeps nothing more."""

    def __init__(self) -> None:
        self.steps: dict[str, bytes] = {}
        self.broken = False

    async def keep_checkpoint(self, checkpoint: Checkpoint) -> None:
        raise NotImplementedError

    async def checkpoints(self) -> list[Checkpoint]:
        return []

    async def step(self, key: str) -> bytes | None:
        return self.steps.get(key)

    async def keep_step(self, key: str, value: bytes) -> None:
        if self.broken and "/tool:" in key:
            raise StoreFailed("The disk is full.")
        self.steps[key] = value


@dataclass
class Stage:
    """Plays turns of one run."""

    agent: Agent[Any]
    model: Scripted
    memory: Notebook = field(default_factory=Notebook)
    events: list[StreamEvent] = field(default_factory=list)  # of the last turn
    live: list[bool] = field(default_factory=list)  # whether the part was live at each event
    part: Part | None = None  # the last one

    async def turn(self, answers: Mapping[str, Any] | None = None, *, retell: bool = False) -> str:
        """The agent's text. Raises Paused."""
        self.events, self.live = [], []
        turn = Turn(
            run_id="r",
            conversation_id="c",
            ask=Ask(message="go"),
            memory=self.memory,
            answers=answers or {},
            retell=retell,
        )
        with at(Desk(turn, self._emit)), playing(AGENT, Usage(kept_counts=True)) as self.part:
            async with self.agent.run("go", stream=True) as stream:
                texts = [update.text async for update in stream]
            if self.part.pauses:
                raise Paused(*self.part.pauses)
        return "".join(texts)

    async def paused(self, answers: Mapping[str, Any] | None = None) -> tuple[PendingRequest, ...]:
        """The questions with which a turn ends."""
        try:
            text = await self.turn(answers)
        except Paused as paused:
            return paused.requests
        raise AssertionError(f"there was no question, but an answer: {text}")

    async def _emit(self, event: StreamEvent) -> None:
        self.events.append(event)
        self.live.append(self.part is not None and self.part.live)

    def of(self, type: StreamEventType) -> list[dict[str, Any]]:
        return [event.data or {} for event in self.events if event.type is type]

    def story(self) -> list[str]:
        return [f"{event.type} {(event.data or {})['tool']}" for event in self.events]


def stage_with(tools: Sequence[FunctionTool], gate: Gate, *lines: Line) -> Stage:
    model = Scripted(*lines)
    client = CompletionsChatClient(Journaled(model))
    return Stage(Agent(client, name=AGENT, tools=list(tools), middleware=[gate]), model)


@asynccontextmanager
async def stage(*lines: Line, **functions: ToolSpec) -> AsyncIterator[Stage]:
    """A stage whose agent has the tools in `functions`."""
    async with opened(*functions.values()) as toolbox:
        yield stage_with(toolbox.of(list(functions)), toolbox.gate, *lines)


@asynccontextmanager
async def opened(*specs: ToolSpec, environ: Mapping[str, str] | None = None) -> AsyncIterator[Toolbox]:
    """A toolbox with all of `specs` in use."""
    described = {spec.name: spec for spec in specs}
    async with open_toolbox(described, list(described), environ=environ or {}) as toolbox:
        yield toolbox


def spec(name: str, **fields: Any) -> ToolSpec:
    """One of the functions in samples.py, unless `fields` say what it is."""
    if not fields.keys() & {"command", "url", "function"}:
        fields["function"] = f"tests.workflows.tools.samples:{name}"
    return ToolSpec(name=name, **fields)

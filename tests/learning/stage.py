"""What the tests of learning share: runs that are followed, over a store, with a workflow that the test plays."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from agentic_fleet.errors import NotFound
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.executions import Execution
from agentic_fleet.learning import EXAMPLES, Learning, open_learning
from agentic_fleet.learning.examples import Example, read_examples
from agentic_fleet.learning.quality import Judge
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.turns import Ask, Emit, Result, RunState, Turn
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.plans import Assessment
from tests.script import Act, Script, answer, token

_TYPE = StreamEventType


class Rules:
    """A judge without a model."""

    async def assess(self, task: str, answer: str) -> Assessment:
        return assess_by_rules(task, answer)


@dataclass
class Stage:
    runs: Runs
    store: Store
    learning: Learning
    home: Path

    async def ask(self, message: str = "paint", chat: str = "c1", **more: Any) -> RunState:
        return await self.runs.start(chat, Ask(message=message, **more), create=True)

    async def done(self, message: str = "paint", chat: str = "c1", **more: Any) -> Execution:
        """What is kept of a run that has ended."""
        state = await self.ask(message, chat, **more)
        await self.runs.idle()
        return await self.store.execution(state.run_id, owner="local")

    def examples(self) -> list[Example]:
        return read_examples(self.home / EXAMPLES)

    async def until_scored(self, run_id: str) -> Execution:
        """The execution, once its answer has a score. The caller bounds the wait."""
        while (await self.store.run(run_id)).quality_score is None:
            await anyio.lowlevel.checkpoint()
        return await self.store.execution(run_id, owner="local")


@asynccontextmanager
async def stage(
    home: Path, act: Act, *, store: Store | None = None, judge: Judge | None = None, **knobs: Any
) -> AsyncIterator[Stage]:
    """Everything in the block must be through in 20 s."""
    settings = Settings(home=home, **knobs)
    store = store or MemoryStore()
    with anyio.fail_after(20):
        async with (
            open_learning(settings, store, judge or Rules(), pass_score=6.0) as learning,
            Runs.open(store, Script(act), settings, middleware=learning.middleware, scores_late=True) as runs,
        ):
            yield Stage(runs, store, learning, home)


def thought(kind: str, **data: Any) -> StreamEvent:
    return StreamEvent(type=_TYPE.ORCHESTRATOR_THOUGHT, kind=kind, message=kind, data=data)


def of(type: StreamEventType, agent: str, **fields: Any) -> StreamEvent:
    return StreamEvent(type=type, agent_id=agent, author=agent, **fields)


USAGE = {"models": ["m-1"], "calls": 1, "prompt_tokens": 10, "completion_tokens": 2}


async def team(turn: Turn, emit: Emit) -> Result:
    """Tells what a supervisor tells: a plan, two agents, tools, a refinement, assessments. The answer is the task."""
    text = turn.ask.message
    events = [
        thought(
            "analysis",
            complexity="complex",
            capabilities=["writing"],
            decided_by="model",
            cached=False,
            program="v7",
            usage=USAGE,
        ),
        thought(
            "routing",
            mode="sequential",
            agents=["researcher", "writer"],
            subtasks={"writer": f"Write {text}."},
            steps=[],
            tools=["calculate"],
            reason="It is work for two.",
            decided_by="model",
        ),
        of(_TYPE.AGENT_START, "researcher"),
        of(_TYPE.TOOL_CALL, "researcher", data={"tool": "calculate", "arguments": {"x": 1}, "call_id": "1"}),
        of(_TYPE.TOOL_RESULT, "researcher", data={"tool": "calculate", "call_id": "1", "result": "2"}),
        of(_TYPE.TOOL_CALL, "researcher", data={"tool": "fetch_url", "arguments": {}, "call_id": "2"}),
        of(_TYPE.TOOL_RESULT, "researcher", error="gone", data={"tool": "fetch_url", "call_id": "2"}),
        of(_TYPE.AGENT_COMPLETE, "researcher", data={"usage": USAGE}),
        of(_TYPE.AGENT_START, "writer"),
        token(text),
        of(_TYPE.AGENT_COMPLETE, "writer", data={"usage": USAGE}),
        thought("execution", agents=["researcher", "writer"], failed={}, round=1),
        thought("progress", verdict="refine", decided_by="model", round=1, program="v3", usage=USAGE),
        thought("quality", score=4.0, flag="low_confidence", missing="A rhyme.", decided_by="model", round=1),
        StreamEvent(
            type=_TYPE.ORCHESTRATOR_MESSAGE,
            kind="refinement",
            message="again",
            data={"round": 2, "of": 2, "missing": "A rhyme."},
        ),
        thought("execution", agents=["writer"], failed={}, round=2),
        thought("progress", verdict="complete", decided_by="model", round=2),
        thought("quality", score=8.0, flag=None, missing="", decided_by="model", round=2),
    ]
    for event in events:
        await emit(event)
    return answer(text)


async def gone(store: Store, run_id: str) -> bool:
    try:
        await store.execution(run_id, owner="local")
    except NotFound:
        return True
    return False

"""A workflow that tells what a test tells it to, when the test says so: any state of the page, held for any time."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from playwright.async_api import Locator, Page

from agentic_fleet.about import AgentCard
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Emit, Pause, PendingRequest, Result, Turn
from tests.web.site import Site, site

TYPE = StreamEventType
TEAM = [
    AgentCard(name="researcher", description="Finds facts.", model="fake", tools=("look",)),
    AgentCard(name="analyst", description="Calculates.", model="fake", tools=("count",)),
    AgentCard(name="writer", description="Writes.", model="fake"),
]


class Stage:
    """One workflow for any number of turns; what is told waits until a turn is there to tell it."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[StreamEvent | Result | Pause](20_000)

    def tell(self, *events: StreamEvent) -> None:
        for event in events:
            self._send.send_nowait(event)

    def write(self, *texts: str, by: str = "writer") -> None:
        """Tokens of the answer."""
        self.tell(*(of(by, TYPE.RESPONSE_DELTA, delta=text) for text in texts))

    def ask(self, *requests: PendingRequest) -> None:
        self._send.send_nowait(Pause(requests=requests))

    def answer(self, text: str, score: float | None = 8.0) -> None:
        self._send.send_nowait(Result(text=text, author="writer", agent_id="writer", quality_score=score))

    async def __call__(self, turn: Turn, emit: Emit) -> Result | Pause:
        while True:
            told = await self._receive.receive()
            if not isinstance(told, StreamEvent):
                return told
            await emit(told)

    def close(self) -> None:
        self._send.close()
        self._receive.close()


def of(agent: str, type: StreamEventType, **fields: Any) -> StreamEvent:
    return StreamEvent(type=type, agent_id=agent, author=agent, **fields)


def thought(kind: str, message: str, score: float | None = None, **data: Any) -> StreamEvent:
    type = TYPE.ORCHESTRATOR_THOUGHT
    return StreamEvent(type=type, kind=kind, message=message, data=data, quality_score=score)


def approval(request_id: str = "a1") -> PendingRequest:
    request = {"tool": "pay", "arguments": {"payee": "<b>Installer</b>", "amount": 180}, "agent": "clerk"}
    return PendingRequest(request_id=request_id, request_type="ToolApproval", request=request)


def question(request_id: str = "q1") -> PendingRequest:
    request = {"question": "Which house is it about?", "agent": "analyst"}
    return PendingRequest(request_id=request_id, request_type="UserInput", request=request)


def plan(request_id: str = "p1") -> PendingRequest:
    request = {
        "mode": "sequential",
        "agents": ["researcher", "writer"],
        "subtasks": {"writer": "Sum up."},
        "reason": "?",
    }
    return PendingRequest(request_id=request_id, request_type="PlanReview", request=request)


def playing(stage: Stage, **more: Any) -> AbstractAsyncContextManager[Site]:
    """The service with `stage` as its workflow; `more` is for `site`. Everything must be through in 30 s."""
    return site(stage, agents=TEAM, patience=30, **more)


async def ask(tab: Page, text: str = "Why is the sky blue?") -> None:
    """As a visitor does."""
    await tab.get_by_label("Your question").fill(text)
    await tab.keyboard.press("Enter")


def answer(tab: Page) -> Locator:
    """The newest answer's text."""
    return tab.locator(".turn").last.locator(".markdown")

"""The web room over a memory store and a scripted workflow, served by a real uvicorn."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx
from httpx_sse import EventSource
from starlette.routing import BaseRoute

from agentic_fleet.about import AgentCard, Check
from agentic_fleet.connection import Connection, Socket
from agentic_fleet.learning import EXAMPLES, open_learning
from agentic_fleet.learning.introspection import Introspection
from agentic_fleet.learning.jobs import Jobs
from agentic_fleet.learning.material import Material
from agentic_fleet.learning.tuning import Tuning
from agentic_fleet.metrics import open_metrics
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store import Store
from agentic_fleet.store.memory import MemoryStore
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.testing.server import serving
from agentic_fleet.turns import Workflow
from agentic_fleet.web import Parts, create_app
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.language import Language
from agentic_fleet.workflows.plans import Assessment
from agentic_fleet.workflows.shelf import Shelf, packaged
from tests.script import Act, Script, echo

Event = dict[str, Any]
ROSTER = load_roster()
PROGRAMS = packaged(ROSTER)
WRITER = AgentCard(name="writer", description="Writes.", model="fake", tools=("look", "count"))
TOOLS = {"look": Check(status="failed", detail="Set LOOK_KEY."), "count": Check(status="ok", detail="It works.")}


class Rules:
    """A judge without a model."""

    async def assess(self, task: str, answer: str) -> Assessment:
        return assess_by_rules(task, answer)


@dataclass
class Site:
    url: str
    http: httpx.AsyncClient
    runs: Runs
    store: Store
    script: Script

    async def start(self, message: str = "one two three", **ask: Any) -> Event:
        """A new conversation's first run."""
        conversation = (await self.http.post("/api/v1/conversations")).json()["id"]
        return await self.ask(conversation, message, **ask)

    async def ask(self, conversation: str, message: str, **ask: Any) -> Event:
        answer = await self.http.post(f"/api/v1/conversations/{conversation}/runs", json={"message": message, **ask})
        assert answer.status_code == 202, answer.text
        run: Event = answer.json()
        return run

    async def finished(self, message: str = "one two three") -> Event:
        """The same, when it has ended."""
        run = await self.start(message)
        await self.runs.idle()
        ended: Event = await self.get(f"/api/v1/runs/{run['run_id']}")
        return ended

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator["Reader"]:
        async with self.http.stream("GET", path, headers=headers) as response:
            if response.status_code != 200:
                await response.aread()
            assert response.status_code == 200, response.text
            async with aclosing(EventSource(response).aiter_sse()) as frames:
                yield Reader(response, frames)

    async def read(self, path: str, headers: Mapping[str, str] | None = None) -> list[Event]:
        """All events of a stream, each with its id."""
        async with self.stream(path, headers) as reader:
            return await reader.rest()


@dataclass
class Reader:
    response: httpx.Response
    frames: Any
    heartbeats: list[Event] = field(default_factory=list)

    async def next(self) -> Event:
        """The next event of the run."""
        while True:
            frame = await anext(self.frames)
            event: Event = json.loads(frame.data)
            if event["type"] != "heartbeat":
                return {**event, "id": frame.id}
            self.heartbeats.append({**event, "id": frame.id})

    async def until(self, delta: str) -> list[Event]:
        """Everything up to the token `delta`."""
        events = [await self.next()]
        while events[-1].get("delta") != delta:
            events.append(await self.next())
        return events

    async def rest(self) -> list[Event]:
        events = []
        try:
            while True:
                events.append(await self.next())
        except StopAsyncIteration:
            return events


def seqs(events: list[Event]) -> list[int]:
    return [int(event["id"].split(":")[1]) for event in events]


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


@asynccontextmanager
async def rules_only(settings: Settings, language: Language | None) -> AsyncIterator[Tuning]:
    """Optimisation where no model decides, in a folder of its own."""
    with TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), ROSTER, PROGRAMS)
        programs = Introspection(
            shelf=shelf, decisions=Decisions(ROSTER, programs=PROGRAMS), by_model=False, provider="openai", model="fake"
        )
        at_home = replace(settings, home=Path(folder))
        async with Jobs.open(at_home, shelf) as jobs:
            yield Tuning(
                jobs=jobs,
                programs=programs,
                language=language or Language(None, timeout=5),
                material=Material(path=settings.home / EXAMPLES, roster=ROSTER),
            )


@asynccontextmanager
async def site(
    act: Act = echo,
    *,
    check: Callable[[], Check] = lambda: Check(status="ok", detail="There."),
    more: Sequence[BaseRoute] = (),
    file: Path | None = None,
    workflow: Workflow | None = None,
    agents: Sequence[AgentCard] = (WRITER,),
    patience: float = 10,
    language: Language | None = None,
    **knobs: Any,
) -> AsyncIterator[Site]:
    """`more` are routes besides the service's own, `knobs` are settings. The store is in `file`, else in memory.

    With a `workflow` of its own, `act` is not played. Everything must be through in `patience` seconds.
    """
    script, settings = Script(act), Settings(**{"examples_bytes": 0, **knobs})
    opened: list[tuple[Store, Runs]] = []

    @asynccontextmanager
    async def open_parts() -> AsyncIterator[Parts]:
        kept: AbstractAsyncContextManager[Store] = open_sqlite(file) if file else nullcontext(MemoryStore())
        async with (
            kept as store,
            open_learning(settings, store, Rules(), pass_score=6.0) as learning,
            rules_only(settings, language) as tuning,
            open_metrics() as metrics,
            Runs.open(
                store, workflow or script, settings, middleware=[*learning.middleware, metrics], scores_late=True
            ) as runs,
        ):
            opened.append((store, runs))
            yield Parts(
                settings=settings,
                store=store,
                runs=runs,
                learning=learning,
                tuning=tuning,
                agents=agents,
                check_model=check,
                check_tools=lambda: TOOLS,
                metrics=metrics,
            )

    app = create_app(open_parts)
    app.router.routes.extend(more)
    as_deployed: dict[str, Any] = {
        "http": Connection,
        "ws": Socket,
        "proxy_headers": False,
        "ws_max_size": settings.max_body,
        "ws_per_message_deflate": False,
    }
    async with serving(app, **as_deployed) as url:
        with anyio.fail_after(patience):
            async with httpx.AsyncClient(base_url=url, timeout=10, verify=False) as http:
                store, runs = opened[0]
                yield Site(url, http, runs, store, script)

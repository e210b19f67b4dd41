"""A client of the service's own API, in the few calls that tests make."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import urlsplit

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.errors import Invalid
from agentic_fleet.settings import is_loopback
from agentic_fleet.testing.errors import Refused
from agentic_fleet.testing.event import Event, Events
from agentic_fleet.testing.libraries import httpx
from agentic_fleet.turns import Mode, OnDisconnect, ReasoningEffort, RunStatus

PAGE = 1000
"""Events in one answer, the most that the service gives."""
TIMEOUT = 30.0
"""Seconds for one answer; a loaded machine is slow."""


class AskOptions(TypedDict, total=False):
    """What may be said beside the message."""

    mode: Mode
    reasoning_effort: ReasoningEffort | None
    enable_checkpointing: bool
    on_disconnect: OnDisconnect
    require_plan_approval: bool


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a human is asked."""

    request_id: str
    request_type: str
    request: Any


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a run, at the time of the call that returned it."""

    run_id: str
    conversation_id: str
    task: str
    status: RunStatus
    mode: Mode
    created_at: str
    started_at: str | None = None
    completed_at: str | None = None
    last_event_id: str | None = None  # where to go on reading
    pending_requests: tuple[Request, ...] = ()
    error: str | None = None
    quality_score: float | None = None


class Client:
    """Asks the service at `url`, with `api_key` if it needs one.

    Works as it is, with a connection per call; ``async with client`` keeps connections, and gives `http` for all that
    is not here. Calls raise `Refused` when the service answers with a problem, and httpx's errors when it does not
    answer.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        self._http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """The open HTTP client, with the base address and the key."""
        assert self._http, "There is no open client outside of `async with`."
        return self._http

    async def start(self, message: str, *, conversation: str | None = None, **ask: Unpack[AskOptions]) -> Run:
        """Start a run, in that conversation or a new one."""
        if conversation is None:
            conversation = (await self.post("/api/v1/conversations"))["id"]
        path = f"/api/v1/conversations/{conversation}/runs"
        return _run(await self.post(path, {"message": message, **ask}))

    async def run(self, run_id: str) -> Run:
        return _run(await self.get(f"/api/v1/runs/{run_id}"))

    async def runs(self, **query: str | int) -> list[Run]:
        """Newest first; `query` is `status`, `conversation_id`, `limit`, `offset`."""
        return [_run(found) for found in await self.get("/api/v1/runs", **query)]

    async def answer(self, run_id: str, response: Any, request_id: str | None = None) -> Run:
        """Answer the run's request of that id, or its oldest one, with any JSON."""
        if request_id is None:
            pending = (await self.run(run_id)).pending_requests
            if not pending:
                raise LookupError(f"The run {run_id} asks nothing.")
            request_id = pending[0].request_id
        body = {"request_id": request_id, "response": response}
        return _run(await self.post(f"/api/v1/runs/{run_id}/responses", body))

    async def cancel(self, run_id: str) -> Run:
        """End it. Returns its final state; a run that had ended stays as it was."""
        return _run(await self.post(f"/api/v1/runs/{run_id}/cancel"))

    async def resume(self, run_id: str, checkpoint_id: str | None = None) -> Run:
        """Let a stopped run go on, in the same log: read on after the `last_event_id` that this returns."""
        return _run(await self.post(f"/api/v1/runs/{run_id}/resume", {"checkpoint_id": checkpoint_id}))

    async def log(self, run_id: str, after: int = 0) -> Events:
        """All that the run has told so far, without waiting for more."""
        events = Events()
        while True:
            page = (await self.get(f"/api/v1/runs/{run_id}/events", after=after, limit=PAGE))["events"]
            events += [msgspec.convert(event, Event) for event in page]
            if len(page) < PAGE:
                return events
            after = events[-1].seq

    async def get(self, path: str, **query: str | int) -> Any:
        """The JSON at `path`."""
        return await self._call("GET", path, params=query)

    async def post(self, path: str, body: Any = None) -> Any:
        """The JSON that comes back."""
        return await self._call("POST", path, json=body)

    async def _call(self, method: str, path: str, **more: Any) -> Any:
        async with self.connection() as http:
            answer = await http.request(method, path, headers={"Accept": "application/json"}, **more)
        check(answer)
        return jsontext.decode(answer.content, object) if answer.content else None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[httpx.AsyncClient]:
        """The open HTTP client, or one for this block."""
        if self._http:
            yield self._http
            return
        async with self._new() as http:
            yield http

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, where no proxy of the environment reaches."""
        return is_loopback(urlsplit(self.url).hostname or "")

    def _new(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            headers=self.headers,
            timeout=TIMEOUT,
            trust_env=not self.is_local,
            verify=self.url.startswith("https:"),  # certificates take long to load
            limits=httpx.Limits(max_connections=None),
        )

    async def __aenter__(self) -> Self:
        self._http = await self._new().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http:
            await self._http.aclose()
            self._http = None


def check(answer: httpx.Response) -> None:
    """Raises Refused for an answer, read before, that is not what was asked for."""
    if not answer.is_success:
        raise refusal(answer.status_code, answer.content)


def refusal(status: int, body: bytes) -> Refused:
    """What the answer says; a proxy's pages are no problem details."""
    try:
        return Refused(status, jsontext.decode(body, dict[str, Any]))
    except Invalid:
        return Refused(status, {"title": HTTPStatus(status).phrase, "detail": body[:500].decode(errors="replace")})


def _run(found: Any) -> Run:
    return msgspec.convert(found, Run)

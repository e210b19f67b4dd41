"""A page that behaves as the web UI of the original AgenticFleet does, and is strict where that would be silent.

A browser's EventSource beneath (it reads `data:` of unnamed events, remembers the last id, opens the same URL again);
above it the page's own rules: it believes a connection dead after SILENCE seconds without an event, closes it at `done`
or `cancelled` and at nothing else, shows the deltas of category `response` as the answer and `response.completed` in
their place, and reads the stored messages when it is done.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx

Event = dict[str, Any]

SILENCE = 30.0
"""Seconds without an event after which the page gives the connection up and begins anew."""
KNOWN = {
    "response.delta",
    "response.completed",
    "error",
    "orchestrator.message",
    "orchestrator.thought",
    "reasoning.delta",
    "reasoning.completed",
    "done",
    "agent.start",
    "agent.complete",
    "agent.output",
    "agent.thought",
    "agent.message",
    "connected",
    "cancelled",
    "heartbeat",
    "workflow.status",
}
PASSED_OVER = {"agent.delta", "tool.call", "tool.result", "suspended"}
"""Types of ours that the page does not know. It passes over what it does not know."""
TEXTS = "delta agent_id author role message error reasoning kind timestamp quality_flag category workflow_id".split()
DATA_TEXTS = ("request_id", "agent_id", "author", "output", "phase")


def check(event: Event) -> None:
    """The page's idea of an event: what is there has its type, and nothing is null."""
    assert event["type"] in KNOWN | PASSED_OVER, event
    assert all(isinstance(event[name], str) for name in TEXTS if name in event), event
    assert event.get("role") in (None, "user", "assistant", "system"), event
    assert isinstance(event.get("quality_score", 0.0), int | float), event
    assert isinstance(event.get("reasoning_partial", True), bool), event
    data = event.get("data", {})
    assert isinstance(data, dict), event
    assert all(isinstance(data[name], str) for name in DATA_TEXTS if name in data), event
    hint = event["ui_hint"]
    assert isinstance(hint["component"], str) and isinstance(hint["collapsible"], bool), event
    assert hint["priority"] in ("low", "medium", "high") and isinstance(hint.get("icon_hint", ""), str), event


class Page:
    """One open conversation. `url` of its last question is what it opens again."""

    def __init__(self, http: httpx.AsyncClient, conversation: str) -> None:
        self.conversation = conversation
        self.events: list[Event] = []  # of the connection that is open, or was last
        self.shown = ""  # the answer as it stands on the page
        self.workflow: str | None = None
        self.over = False  # it has closed its connection because of what it heard
        self.heartbeats = 0
        self._beat = anyio.Event()  # single-use: replaced at each heartbeat
        self._http = http
        self._url = ""
        self._last_id = ""

    async def ask(self, message: str, **wishes: str) -> None:
        """Ask and read to the end."""
        async with self.asking(message, **wishes) as events:
            async for _ in events:
                pass

    def asking(self, message: str, **wishes: str) -> Any:
        """Ask, and read an event at a time."""
        self._url = f"/api/chat/{self.conversation}/stream?{urlencode({'message': message, **wishes})}"
        return self.again()

    def again(self) -> Any:
        """The page's own reconnection: a new EventSource at the same URL, which knows nothing of the old one."""
        self._last_id = ""
        return self._connected({})

    def resumed(self) -> Any:
        """The browser's reconnection, which sends the last id it has seen."""
        return self._connected({"Last-Event-ID": self._last_id} if self._last_id else {})

    async def silent(self, heartbeats: int) -> None:
        """Return when so many have come."""
        while self.heartbeats < heartbeats:
            await self._beat.wait()

    async def cancel(self) -> Event:
        return await self._post("cancel", None)

    async def respond(self, request_id: str, response: Any) -> Event:
        return await self._post("respond", {"request_id": request_id, "response": response})

    async def stored(self) -> list[Event]:
        """The messages as the page loads them."""
        answered = await self._http.get(f"/api/v1/conversations/{self.conversation}")
        assert answered.status_code == 200
        messages: list[Event] = answered.json()["messages"]
        for message in messages:
            assert message["role"] in ("user", "assistant", "system")
            assert isinstance(message["content"], str) and isinstance(message["created_at"], str)
        return messages

    @asynccontextmanager
    async def _connected(self, headers: Mapping[str, str]) -> AsyncIterator[AsyncIterator[Event]]:
        self.events, self.shown, self.over = [], "", False
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", **headers}
        async with self._http.stream("GET", self._url, headers=headers) as answered:
            assert answered.status_code == 200, await answered.aread()
            assert answered.headers["content-type"].split(";")[0] == "text/event-stream"
            async with aclosing(self._heard(answered)) as events:
                yield events

    async def _heard(self, answered: httpx.Response) -> Any:
        async with aclosing(self._messages(answered)) as messages:
            while not self.over:
                try:
                    with anyio.fail_after(SILENCE):
                        text = await anext(messages)
                except StopAsyncIteration:
                    return
                event: Event = json.loads(text)
                check(event)
                self._take(event)
                if event["type"] != "heartbeat":
                    self.events.append(event)
                    yield event

    async def _messages(self, answered: httpx.Response) -> Any:
        """The `data` of each event that reaches `onmessage` (HTML standard, section 9.2.6)."""
        data: list[str] = []
        last_id = self._last_id
        async for line in answered.aiter_lines():
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "" if line:
                    pass  # a comment: the page does not see it
                case "":
                    self._last_id = last_id
                    if data:
                        yield "\n".join(data)
                    data = []
                case "data":
                    data.append(value)
                case "id":
                    last_id = value
                case "retry":
                    assert value.isdecimal()
                case _:
                    raise AssertionError(f"{line!r}: events with names do not reach the page")

    def _take(self, event: Event) -> None:
        self.workflow = event.get("data", {}).get("workflow_id") or event.get("workflow_id") or self.workflow
        match event["type"]:
            case "heartbeat":
                self.heartbeats += 1
                self._beat.set()
                self._beat = anyio.Event()
            case "response.delta" if event["category"] == "response":
                self.shown += event["delta"]
            case "response.completed":
                self.shown = event.get("message") or self.shown
            case "done" | "cancelled":
                self.over = True

    async def _post(self, what: str, body: Any) -> Event:
        path = f"/api/chat/{self.conversation}/{what}?{urlencode({'workflow_id': self.workflow})}"
        answered = await self._http.post(path, json=body)
        assert answered.status_code == 200, answered.text
        said: Event = answered.json()
        return said

"""What a run asks, put to the person at the terminal while its stream is open; who is faster elsewhere has answered.

Only where there is a person: standard input and output must be terminals, and the output for people. Everybody else
is shown the command that answers (progress.py).
"""

import math
import os
import sys
from typing import Any

import anyio

from agentic_fleet.cli.client import Client, Event, Refused
from agentic_fleet.cli.progress import Progress

try:
    import termios
except ImportError:  # Windows: what was typed too late stays there for the shell
    termios = None  # type: ignore[assignment]  # the module does not exist on this platform

_PROMPTS = {
    "ToolApproval": "Allow it? (yes, or say why not) ",
    "PlanReview": "Is the plan good? (yes, or say what to change) ",
}
_OTHER = "Your answer: "


class Answers:
    """Of one run. `hear` takes its events; `ask` is the conversation, one question at a time, until it is cancelled."""

    def __init__(self, client: Client, run: str, progress: Progress) -> None:
        self._client = client
        self._run = run
        self._progress = progress
        # Holds what a run asks at once: a question for each agent at work.
        self._send, self._receive = anyio.create_memory_object_stream[dict[str, Any]](math.inf)
        self._open: dict[str, anyio.CancelScope] = {}  # questions without an answer, asked or about to be

    def hear(self, event: Event) -> None:
        if event["type"] != "orchestrator.message" or not self._progress.converses:
            return
        data = event.get("data") or {}
        if event.get("kind") == "request":
            self._open[data["request_id"]] = anyio.CancelScope()
            self._send.send_nowait(data)
        elif event.get("kind") == "response" and (scope := self._open.pop(data["request_id"], None)):
            scope.cancel("it has been answered")

    async def ask(self) -> None:
        with self._send, self._receive:
            async for asked in self._receive:
                await self._ask(asked)

    async def _ask(self, asked: dict[str, Any]) -> None:
        request_id = asked["request_id"]
        if (scope := self._open.get(request_id)) is None or not self._progress.converses:
            return
        with scope:
            words = _PROMPTS.get(asked["request_type"], _OTHER)
            with self._progress.prompting(request_id, words):
                said = await _typed()
            if said is None:  # the person has hung up: whoever it is may answer from elsewhere
                self._progress.converses = False
                self._progress.command(asked, self._run)
                return
            del self._open[request_id]  # its echo is no news
            await self._give(request_id, said)
        if scope.cancelled_caught and termios:
            termios.tcflush(sys.stdin, termios.TCIFLUSH)  # half an answer is no answer to the next question

    async def _give(self, request_id: str, said: str) -> None:
        try:
            path = f"/api/v1/runs/{self._run}/responses"
            await self._client.post(path, {"request_id": request_id, "response": said})
        except Refused as refusal:  # somebody was faster, or the run has just ended
            self._progress.note(str(refusal))


async def _typed() -> str | None:
    """The next line with something on it; None at the end of the input. A terminal hands lines over whole."""
    while True:
        await anyio.wait_readable(sys.stdin)
        line = os.read(sys.stdin.fileno(), 65_536)
        if not line:
            return None
        if said := line.decode(errors="replace").strip():
            return said

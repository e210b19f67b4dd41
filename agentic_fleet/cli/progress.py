"""How a run is shown in a terminal: phases, agents and tools as lines, tokens as they come, and who is at work.

Of agents that speak at once, one has the floor until it is through; what the others say is kept and shown after it,
because tokens of several in turns are no text.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from agentic_fleet.cli.asked import lines
from agentic_fleet.cli.client import Event
from agentic_fleet.cli.plain import plain, seconds_between
from agentic_fleet.cli.standing import Standing

Voice = tuple[str, str]
"""A type of tokens and the agent that they come from."""

_ENDINGS = frozenset({"response.completed", "error", "cancelled", "suspended"})


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # the error that was caught; rich would raise SystemExit, in the middle of a task group


class Progress:
    """Text from models and tools is printed as plain text: no markup, no control characters.

    `url` is the service's, for a human who is asked something and answers from another terminal; `with_key` when it
    wants one.
    """

    def __init__(self, *, as_json: bool, url: str, with_key: bool = False) -> None:
        self.abandoned = False
        self.converses = False
        """Whether a person is there to answer."""
        self._as_json = as_json
        self._url = url
        self._key = '-H "Authorization: Bearer $FLEET_API_KEY" ' if with_key else ""
        self._console = _Console(highlight=False, soft_wrap=True)
        self._notes = Console(stderr=True, highlight=False)
        interactive = not as_json and self._console.is_terminal and not self._console.is_dumb_terminal
        self._standing = Standing(self._console, shown=interactive)
        self.converses = interactive and sys.stdin.isatty()
        self._prompt: tuple[str, str] | None = None  # the id of what is asked, and the words the cursor stands behind
        self._began = ""
        self._speaker: Voice | None = None  # whose tokens the cursor stands behind
        self._kept: dict[Voice, str] = {}  # tokens of those who wait for the floor, in the order they began
        self._through: set[str] = set()  # agents that have said all
        self._shown: dict[str, Callable[[Event], None]] = {
            "connected": self._connected,
            "orchestrator.thought": self._think,
            "agent.start": self._start,
            "agent.delta": self._tokens,
            "response.delta": self._tokens,
            "agent.output": self._output,
            "agent.complete": self._agent_complete,
            "orchestrator.message": self._message,
            "tool.call": lambda event: self._line("tool", _brief(event["data"]), "blue"),
            "tool.result": self._result,
            "suspended": lambda event: self._line("suspended", event.get("message", ""), "yellow"),
            "response.completed": self._completed,
            "error": lambda event: self._line("error", event.get("error", ""), "bold red"),
            "cancelled": lambda event: self._line("cancelled", event.get("message", ""), "yellow"),
        }

    def show(self, event: Event) -> None:
        if self._as_json:
            print(json.dumps(event), flush=True)
        elif shown := self._shown.get(event["type"]):
            if event["type"] in _ENDINGS:
                self._standing.end()
            shown(event)

    def note(self, text: str) -> None:
        """A word of our own, on stderr."""
        self._break()
        self._standing.hide()
        self._notes.print(plain(text, "yellow"))
        self._prompt_again()
        self._go_on()

    @contextmanager
    def prompting(self, request_id: str, words: str) -> Iterator[None]:
        """Show `words` and leave the cursor behind them, for whoever reads the answer."""
        self._prompt = request_id, words
        self._prompt_again()
        try:
            yield
            self._prompt = None  # whoever typed has ended the line
        finally:
            self._break()
            self._prompt = None
            self._go_on()

    def command(self, asked: dict[str, Any], run: str) -> None:
        """How to answer from elsewhere."""
        answer = json.dumps({"request_id": asked["request_id"], "response": "..."})
        to = f"{self._url}/api/v1/runs/{run}/responses"
        self._line("answer it", f"curl {to} {self._key}-H 'content-type: application/json' -d '{answer}'", "yellow")

    def _connected(self, event: Event) -> None:
        self._began = event.get("timestamp", "")
        self._standing.begin()
        self._line("run", event["data"]["workflow_id"], "dim")

    def _think(self, event: Event) -> None:
        self._standing.think(event["kind"])
        self._line(event["kind"], event.get("message", ""), "cyan")

    def _result(self, event: Event) -> None:
        if event.get("error"):
            self._line("failed", _brief(event["error"]), "red")
        else:
            self._line("result", _brief(event["data"].get("result")), "blue")

    def _agent_complete(self, event: Event) -> None:
        self._standing.leave(event["agent_id"])
        if event.get("error"):
            self._line(event["agent_id"], event["error"], "red")

    def _message(self, event: Event) -> None:
        if event.get("kind") == "request":
            asked = event["data"]
            self._line("question", event["message"], "bold yellow")
            for line in lines(asked):
                self._line("", line, "")
            if not self.converses:
                self.command(asked, event["workflow_id"])
        elif event.get("kind") in ("response", "refinement"):
            if self._prompt and self._prompt[0] == (event.get("data") or {}).get("request_id"):
                self._break()
                self._prompt = None
            self._line(event["kind"], event.get("message", ""), "yellow")

    def _completed(self, event: Event) -> None:
        score, usage = event.get("quality_score"), (event.get("data") or {}).get("usage")
        parts = [
            f"answered by {event.get('author')}",
            f"quality {score:g}/10" if score is not None else "",
            seconds_between(self._began, event.get("timestamp", "")),
            f"{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out" if usage else "",
        ]
        self._line("done", ", ".join(filter(None, parts)), "green")

    def _tokens(self, event: Event) -> None:
        voice = (event["type"], event["agent_id"])
        if self._speaker and self._speaker != voice and self._speaker[0] == "agent.delta" == voice[0]:
            self._kept[voice] = self._kept.get(voice, "") + event["delta"]
        else:
            self._say(voice, event["delta"])

    def _start(self, event: Event) -> None:
        self._through.discard(event["agent_id"])
        self._standing.join(event["agent_id"])
        self._line(event["agent_id"], event.get("message", ""), "magenta")

    def _output(self, event: Event) -> None:
        """An agent is through: the next one has the floor, with what it has said meanwhile."""
        self._through.add(event["agent_id"])
        while self._speaker and self._speaker[1] in self._through:
            self._break()
            if self._kept:
                voice = next(iter(self._kept))
                self._say(voice, self._kept.pop(voice))

    def _say(self, voice: Voice, text: str) -> None:
        style = "dim" if voice[0] == "agent.delta" else ""
        if self._speaker != voice:
            self._break()
            self._standing.hide()
            self._speaker = voice
            if style:
                self._console.print(plain(f"{'':>11}{voice[1]}: ", style), end="")
        self._console.print(plain(text, style), end="")

    def _line(self, label: str, text: str, style: str) -> None:
        self._break()
        for voice, kept in self._kept.items():
            self._say(voice, kept)
            self._break()
        self._kept.clear()
        self._console.print(plain(f"{label:>10} ", style) + plain(text))
        self._prompt_again()
        self._go_on()

    def _break(self) -> None:
        """End the line that the cursor stands in."""
        if self._speaker is not None or self._prompt:
            self._console.print()
            self._speaker = None

    def _prompt_again(self) -> None:
        if self._prompt:
            self._standing.hide()
            self._console.print(plain(f"{'':>11}{self._prompt[1]}", "bold"), end="")

    def _go_on(self) -> None:
        if self._speaker is None and self._prompt is None:
            self._standing.show()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._break()
        self._standing.hide()


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."

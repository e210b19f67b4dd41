"""How `scripts/ask` shows a run: phases and agents as lines, tokens as they come.

Of agents that speak at once, one has the floor until it is through; what the others say is kept and shown after it,
because tokens of several in turns are no text.
"""

import json
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.text import Text

Event = dict[str, Any]
Voice = tuple[str, str]
"""A type of tokens and the agent that they come from."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # the error that was caught; rich would raise SystemExit, in the middle of a task group


class Progress:
    """Text from models and tools is printed as plain text: no markup, no control characters.

    `url` is the service's, for a human who is asked something and answers from another terminal.
    """

    def __init__(self, *, as_json: bool, url: str) -> None:
        self.abandoned = False
        self._as_json = as_json
        self._url = url
        self._console = _Console(highlight=False, soft_wrap=True)
        self._notes = Console(stderr=True, highlight=False)
        self._speaker: Voice | None = None  # whose tokens the cursor stands behind
        self._kept: dict[Voice, str] = {}  # tokens of those who wait for the floor, in the order they began
        self._through: set[str] = set()  # agents that have said all
        self._shown: dict[str, Callable[[Event], None]] = {
            "connected": lambda event: self._line("run", event["data"]["workflow_id"], "dim"),
            "orchestrator.thought": lambda event: self._line(event["kind"], event.get("message", ""), "cyan"),
            "agent.start": self._start,
            "agent.delta": self._tokens,
            "response.delta": self._tokens,
            "agent.output": self._output,
            "agent.complete": self._agent_complete,
            "orchestrator.message": self._message,
            "tool.call": lambda event: self._line("tool", _brief(event["data"]), "blue"),
            "suspended": lambda event: self._line("suspended", event.get("message", ""), "yellow"),
            "response.completed": self._completed,
            "error": lambda event: self._line("error", event.get("error", ""), "bold red"),
            "cancelled": lambda event: self._line("cancelled", event.get("message", ""), "yellow"),
        }

    def show(self, event: Event) -> None:
        if self._as_json:
            print(json.dumps(event), flush=True)
        elif shown := self._shown.get(event["type"]):
            shown(event)

    def note(self, text: str) -> None:
        """A word of our own, on stderr."""
        self._notes.print(Text(text, "yellow"))

    def _agent_complete(self, event: Event) -> None:
        if event.get("error"):
            self._line(event["agent_id"], event["error"], "red")

    def _message(self, event: Event) -> None:
        if event.get("kind") == "request":
            asked = event["data"]
            self._line("question", f"{event['message']}: {_brief(asked['request'])}", "bold yellow")
            answer = json.dumps({"request_id": asked["request_id"], "response": "..."})
            to = f"{self._url}/api/v1/runs/{event['workflow_id']}/responses"
            self._line("answer it", f"curl {to} -H 'content-type: application/json' -d '{answer}'", "yellow")
        elif event.get("kind") in ("response", "refinement"):
            self._line(event["kind"], event.get("message", ""), "yellow")

    def _completed(self, event: Event) -> None:
        score = event.get("quality_score")
        self._line(
            "done",
            f"answered by {event.get('author')}" + (f", quality {score:g}/10" if score is not None else ""),
            "green",
        )

    def _tokens(self, event: Event) -> None:
        voice = (event["type"], event["agent_id"])
        if self._speaker and self._speaker != voice and self._speaker[0] == "agent.delta" == voice[0]:
            self._kept[voice] = self._kept.get(voice, "") + event["delta"]
        else:
            self._say(voice, event["delta"])

    def _start(self, event: Event) -> None:
        self._through.discard(event["agent_id"])
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
            self._speaker = voice
            if style:
                self._console.print(_plain(f"{'':>11}{voice[1]}: ", style), end="")
        self._console.print(_plain(text, style), end="")

    def _line(self, label: str, text: str, style: str) -> None:
        self._break()
        for voice, kept in self._kept.items():
            self._say(voice, kept)
            self._break()
        self._kept.clear()
        self._console.print(_plain(f"{label:>10} ", style) + _plain(text))

    def _break(self) -> None:
        if self._speaker is not None:
            self._console.print()
            self._speaker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._break()


def _plain(text: str, style: str = "") -> Text:
    """Without control characters: they could move the cursor, retitle the window or hide what was said."""
    return Text(_CONTROL.sub("\ufffd", text), style)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."

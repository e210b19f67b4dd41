"""How `scripts/ask` shows a run: phases and agents as lines, tokens as they come."""

import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.text import Text

Event = dict[str, Any]


class Progress:
    """Text from models and tools is printed as plain text: no markup, no control characters."""

    def __init__(self, *, as_json: bool) -> None:
        self.abandoned = False
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)
        self._notes = Console(stderr=True, highlight=False)
        self._speaker: str | None = None  # whose tokens the cursor stands behind
        self._shown: dict[str, Callable[[Event], None]] = {
            "connected": lambda event: self._line("run", event["data"]["workflow_id"], "dim"),
            "orchestrator.thought": lambda event: self._line(event["kind"], event.get("message", ""), "cyan"),
            "agent.start": lambda event: self._line(event["agent_id"], event.get("message", ""), "magenta"),
            "agent.delta": lambda event: self._tokens(event, "dim"),
            "response.delta": lambda event: self._tokens(event, ""),
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
            self._line("", f"answer it: POST /api/v1/runs/{event['workflow_id']}/responses", "yellow")
            self._line("", json.dumps({"request_id": asked["request_id"], "response": "..."}), "yellow")
        elif event.get("kind") in ("response", "refinement"):
            self._line(event["kind"], event.get("message", ""), "yellow")

    def _completed(self, event: Event) -> None:
        score = event.get("quality_score")
        self._line(
            "done",
            f"answered by {event.get('author')}" + (f", quality {score:g}/10" if score is not None else ""),
            "green",
        )

    def _tokens(self, event: Event, style: str) -> None:
        if self._speaker != event.get("agent_id"):
            self._break()
            self._speaker = event.get("agent_id")
            if style:
                self._console.print(Text(f"{'':>11}{self._speaker}: ", style), end="")
        self._console.print(Text(event["delta"], style), end="")

    def _line(self, label: str, text: str, style: str) -> None:
        self._break()
        self._console.print(Text(f"{label:>10} ", style) + Text(text))

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


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."

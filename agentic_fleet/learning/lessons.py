"""From the history to examples: what a kept execution teaches, and the file that it is written to."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from anyio import CapacityLimiter, to_thread

from agentic_fleet import jsontext
from agentic_fleet.executions import Execution, Quality
from agentic_fleet.learning.examples import Example, Forgotten, Utterance
from agentic_fleet.learning.lines import MOST_BYTES, append_line
from agentic_fleet.workflows.history import both_ends

logger = logging.getLogger(__name__)

ANSWER = 8_000
"""Characters of an answer in an example: as much as an assessor reads (workflows/decisions.py)."""


def example_of(account: Mapping[str, Any], quality: Quality, feedback: Mapping[str, Any] | None = None) -> Example:
    """`account` as learning/account.py writes it; what it lacks is empty. ValueError when it is another thing."""
    plan = account.get("plan") or {}
    given = {
        "line": "example",
        "workflow_id": account.get("workflow_id", ""),
        "at": account.get("completed_at") or account.get("created_at") or 0,
        "task": account.get("task", ""),
        "context": account.get("context") or (),
        "replies": _replies(account),
        **{name: plan[name] for name in ("complexity", "mode", "agents", "subtasks", "decided_by") if name in plan},
        "asked_mode": account.get("mode", "auto"),
        "status": account.get("status", "completed"),
        "quality_score": quality.score,
        "quality_flag": quality.flag,
        "corrected": quality.by == "human",
        "comment": (feedback or {}).get("comment") or "",
        "caller": account.get("caller", "local"),
        "model": ", ".join(account.get("models") or ()),
        "program_version": str((account.get("programs") or {}).get("planner", "")),
    }
    return msgspec.convert(given, Example)


class ExampleFile:
    """The file of examples, from within the event loop. What it cannot keep is logged: nothing depends on it."""

    def __init__(self, path: Path | str | None, *, most: int = MOST_BYTES) -> None:
        """Without a `path`, or with room for nothing, it keeps nothing."""
        self.path = Path(path) if path is not None and most else None
        self._most = most
        self._turn = CapacityLimiter(1)

    async def add(self, execution: Execution) -> None:
        await self.add_account(execution.account, execution.quality, execution.feedback)

    async def add_account(
        self, account: Mapping[str, Any], quality: Quality, feedback: Mapping[str, Any] | None = None
    ) -> None:
        if self.path is None:
            return
        try:
            line = example_of(account, quality, feedback)
        except (msgspec.ValidationError, TypeError) as error:
            logger.error("an execution makes no example: %s", type(error).__name__)
        else:
            await self._append([line])

    async def forget(self, workflow_ids: Sequence[str]) -> None:
        """These runs teach nothing any more."""
        if self.path is not None and workflow_ids:
            await self._append([Forgotten(workflow_id=id) for id in workflow_ids])

    async def _append(self, lines: Sequence[Example | Forgotten]) -> None:
        assert self.path is not None
        text = b"\n".join(jsontext.encode(line) for line in lines)
        try:
            await to_thread.run_sync(
                lambda path: append_line(path, text, most=self._most),
                self.path,
                abandon_on_cancel=True,  # a disk that hangs must not hold up a run
                limiter=self._turn,
            )
        except OSError as error:
            logger.error("an example was not kept: %s", error.strerror or type(error).__name__)


def _replies(account: Mapping[str, Any]) -> tuple[Utterance, ...]:
    if not (said := account.get("result")):
        return ()
    text = said if isinstance(said, str) else jsontext.encode(said).decode()
    return (Utterance(role="assistant", content=both_ends(text, ANSWER), author=account.get("author")),)

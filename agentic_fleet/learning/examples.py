"""Examples: what one run was asked, how it was planned and what came of it, as lines that programs are trained on.

The lines are only ever added to. A human's verdict on an answer comes later, as another line for the same run: of the
lines for one run the last one counts, and a run whose history was deleted teaches nothing any more.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.learning.lines import MOST_BYTES, append_line, read_lines
from agentic_fleet.workflows.plans import Complexity, Work

logger = logging.getLogger(__name__)


class Utterance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation. `more` (JSON) is what its original form said beyond this (see converter.py)."""

    role: str
    content: str
    author: str | None = None
    more: dict[str, Any] = {}


class Example(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="line", tag="example"):
    """One run as a lesson. Inputs: `task`, `context`. Labels: `complexity`, `mode`, `agents`, `subtasks`; empty when
    the run ended before it had a plan. The rest is outcome and provenance.

    `asked_mode` other than "auto" says that the request chose the mode, not the planner; `decided_by` who planned.
    `corrected`: `quality_score` (0..10) is a human's, who may have left a `comment`.
    """

    workflow_id: str
    at: int  # Unix milliseconds
    task: str
    context: tuple[Utterance, ...] = ()  # the conversation before the task, oldest first
    asked: Utterance | None = None  # the task's own message, when it says more than "user" and the task
    replies: tuple[Utterance, ...] = ()  # what was answered

    complexity: Complexity | None = None
    mode: Work | None = None
    agents: tuple[str, ...] = ()  # in working order
    subtasks: dict[str, str] = {}  # agent -> its part, where it was given one
    decided_by: str = ""
    asked_mode: str = "auto"

    status: str = "completed"  # or failed, cancelled, ...: turns.RunStatus
    quality_score: float | None = None
    quality_flag: str | None = None  # empty, refusal, low_confidence
    corrected: bool = False
    comment: str = ""

    caller: str = "local"
    model: str = ""
    program_version: str = ""
    more: dict[str, Any] = {}  # what its original form said beyond this (see converter.py)

    @property
    def answer(self) -> str:
        return "\n".join(reply.content for reply in self.replies)


class Forgotten(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="forgotten"):
    """The run's history was deleted: its earlier lines do not count any more."""

    workflow_id: str


_line = msgspec.json.Decoder(Example | Forgotten)


def append_example(path: Path, example: Example | Forgotten, *, most: int = MOST_BYTES) -> None:
    """Add it to the file. Blocks: call it in a worker thread. See `append_line`. OSError."""
    append_line(path, jsontext.encode(example), most=most)


def read_examples(path: Path) -> list[Example]:
    """One example per run, the oldest run first. Lines that nobody can read are skipped, and counted in the log.

    Blocks, and takes memory for both files: call it in a worker thread. OSError; no file, no examples.
    """
    kept: dict[str, Example] = {}
    for line in _readable(path):
        match line:
            case Example():
                kept[line.workflow_id] = line
            case Forgotten():
                kept.pop(line.workflow_id, None)
    return list(kept.values())


def _readable(path: Path) -> Iterator[Example | Forgotten]:
    skipped = 0
    for line in read_lines(path):
        try:
            yield _line.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # torn, or another version's
            skipped += 1
    if skipped:
        logger.warning("%d lines of examples could not be read and were skipped", skipped)

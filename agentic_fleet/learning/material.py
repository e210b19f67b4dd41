"""What a caller's runs teach, one by one: the planning that an example shows, or why nobody learns from it."""

from dataclasses import dataclass
from pathlib import Path

import anyio

from agentic_fleet.errors import StoreFailed
from agentic_fleet.learning.curriculum import lesson
from agentic_fleet.learning.examples import Example, read_examples
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """`task` has the labels that are learned, which a comment may have put right; None when nothing is. `why` says
    where they come from, or what is missing. What an optimisation knows already it leaves out."""

    example: Example
    why: str
    task: Task | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """`path` is the file of examples, which may not exist yet."""

    path: Path
    roster: Roster

    async def lessons(self, caller: str, *, min_quality: float = 8.0) -> list[Lesson]:
        """All of the caller's, the newest first, as an optimisation from `min_quality` (0..10) on would take them.
        StoreFailed. It reads the whole file."""
        try:
            return await anyio.to_thread.run_sync(self._read, caller, min_quality)
        except OSError:
            raise StoreFailed("The examples could not be read.") from None

    def _read(self, caller: str, min_quality: float) -> list[Lesson]:
        found = [example for example in read_examples(self.path) if example.caller == caller]
        found.sort(key=lambda example: example.at, reverse=True)
        read = ((example, *lesson(example, self.roster, min_quality)) for example in found)
        return [Lesson(example=example, why=why, task=task) for example, why, task in read]

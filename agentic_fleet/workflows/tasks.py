"""The packaged labelled tasks: what the classifier learns from, what shows a model how to plan, what planners are
measured on. They are labelled by this rule:

* fast: the whole answer is a sentence or two (a fact, a word, a number, a greeting).
* delegated: one product of one kind of work.
* sequential: the product of one agent is the material of the next.
* parallel: several pieces of work that do not need each other, on one subject, put together at the end.
* agents: in working order; in parallel, in the order the task names them. The first is the lead: a researcher finds
  and explains facts, an analyst calculates, compares and decides, a writer makes texts for readers, a reviewer judges
  work that exists, a coder deals in code and commands, a planner puts steps in order.
* complexity: simple when one agent is enough, else complex.
* held_out: every fifth task, balanced over leads and modes; never trained on, never chosen by, only scored.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.errors import Invalid
from agentic_fleet.workflows.plans import Complexity, Work

TASKS = Path(__file__).with_name("tasks.jsonl")


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One labelled task. `subtasks` follow `agents`; only the few tasks that serve as demonstrations have them."""

    task: str
    complexity: Complexity
    mode: Work
    agents: tuple[str, ...]
    subtasks: tuple[str, ...] = ()
    held_out: bool = False


@cache
def labelled_tasks() -> Sequence[Task]:
    """All packaged tasks, in the order of the file."""
    return tuple(read_tasks(TASKS.read_text(encoding="utf-8")))


def read_tasks(lines: str) -> list[Task]:
    """One JSON object a line; empty lines are skipped. Raises Invalid, naming what is wrong, and in which line."""
    return [_read(line, number) for number, line in enumerate(lines.splitlines(), start=1) if line.strip()]


def _read(line: str, number: int) -> Task:
    try:
        return jsontext.decode(line, Task)
    except Invalid as error:
        raise Invalid(f"line {number}: {error}", error.errors) from None


def same_text(task: str) -> str:
    """Two tasks with the same result are the same task: case, space and the last full stop do not count."""
    return " ".join(task.casefold().split()).rstrip(".")

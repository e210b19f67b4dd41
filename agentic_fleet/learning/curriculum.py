"""What there is to learn from: the packaged tasks, and of the history what somebody has found good or put right.

The packaged held-out tasks are never among it, whoever asks them: they only measure. A team that none of them is for is
measured on a fifth of what its own runs teach, which then teaches nothing.
"""

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentic_fleet import jsontext
from agentic_fleet.learning.examples import Example
from agentic_fleet.learning.grades import Judgement
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.changes import named_mode
from agentic_fleet.workflows.plans import ALONE, WORKS, Work
from agentic_fleet.workflows.tasks import Task, labelled_tasks, same_text

JUDGEMENTS = Path(__file__).with_name("judgements.jsonl")
_ROUTING = re.compile(r"\brouting:\s*([^\n]+)", re.IGNORECASE)
_CELL = 40  # tasks of one lead and one mode that are learned from: a habit of one user must not drown the others
_PART = 5  # one task in so many measures, where no packaged one can
_BAND = 1.5  # points around a human's score in which a judge agrees with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Curriculum:
    """`packaged` and `learned` teach, `held_out` measures; likewise the judgements. `counts` say where it comes from
    and what was left out, and why."""

    packaged: tuple[Task, ...]
    learned: tuple[Task, ...]
    held_out: tuple[Task, ...]
    judgements: tuple[Judgement, ...]
    held_out_judgements: tuple[Judgement, ...]
    counts: Mapping[str, int]

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.packaged + self.learned

    @property
    def digest(self) -> str:
        """SHA-256 of all that teaches and measures."""
        everything = [self.tasks, self.held_out, self.judgements, self.held_out_judgements]
        return hashlib.sha256(jsontext.encode(everything)).hexdigest()


def gather(
    roster: Roster,
    examples: Iterable[Example] = (),
    *,
    min_quality: float = 8.0,
    limit: int = 200,
    more: Sequence[Task] = (),
    seed: int = 0,
) -> Curriculum:
    """`examples` count from `min_quality` (0..10) on, the newest `limit` of them; `more` tasks have their labels, and
    measure when they are marked as held out. `seed` chooses what measures where nothing is marked."""
    known = [task for task in labelled_tasks() if set(task.agents) <= roster.keys()]
    packaged = tuple(task for task in known if not task.held_out)
    counts: Counter[str] = Counter({"packaged": len(packaged)})
    seen = {same_text(task.task) for task in known}
    learned: list[Task] = []
    newest_first = sorted(examples, key=lambda example: example.at, reverse=True)
    read = [lesson(example, roster, min_quality) for example in newest_first]
    for source, task in [*(("given", task) for task in more), *read]:
        if task is None:
            counts[source] += 1
        elif not set(task.agents) <= roster.keys():
            counts["for another team"] += 1
        elif (text := same_text(task.task)) in seen:
            counts["known already"] += 1
        else:
            seen.add(text)
            counts[source] += 1
            learned.append(task)
    judgements = [judged for example in newest_first if (judged := _judged(example))]
    marked = tuple(task for task in (*known, *learned) if task.held_out)
    learned = [task for task in learned if not task.held_out]
    kept = balanced(learned, limit)
    counts["left out for balance"] = len(learned) - len(kept)
    held_out = marked or tuple(task for task in kept if _measures(task, seed))
    counts["held out to measure"] = len(held_out) - len(marked)
    packed = _packaged_judgements()
    return Curriculum(
        packaged=packaged,
        learned=tuple(task for task in kept if task not in held_out),
        held_out=held_out,
        judgements=tuple(it for it in packed if not it.held_out) + tuple(judgements[:limit]),
        held_out_judgements=tuple(it for it in packed if it.held_out),
        counts={name: count for name, count in counts.items() if count},
    )


def balanced(tasks: Sequence[Task], limit: int) -> tuple[Task, ...]:
    """At most `limit`, taken in turn from every lead and mode, so that no kind of work is drowned by another."""
    cells: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in tasks:
        cells[task.agents[0], task.mode].append(task)
    in_turn = [cell[at] for at in range(_CELL) for _, cell in sorted(cells.items()) if at < len(cell)]
    return tuple(in_turn[:limit])


def _measures(task: Task, seed: int) -> bool:
    """By its text: what measures today has taught nothing yesterday, however many tasks have come since."""
    return int(hashlib.sha256(f"{seed} {same_text(task.task)}".encode()).hexdigest(), 16) % _PART == 0


def dealt(tasks: Sequence[Task], piles: int, seed: int) -> list[list[Task]]:
    """The tasks in `piles` of equal size, each with about the same leads and modes. The same for the same seed."""
    cells: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in tasks:
        cells[task.agents[0], task.mode].append(task)
    shuffle = random.Random(seed).shuffle
    dealing: list[list[Task]] = [[] for _ in range(piles)]
    at = 0
    for _, cell in sorted(cells.items()):
        shuffle(cell)
        for task in cell:
            dealing[at % piles].append(task)
            at += 1
    for pile in dealing:
        shuffle(pile)
    return dealing


def lesson(example: Example, roster: Roster, min_quality: float) -> tuple[str, Task | None]:
    """What an example teaches about planning, under the name of its source; or why it teaches nothing."""
    if example.context:
        return "part of a conversation", None
    if example.corrected and (better := _put_right(example, roster)):
        return "put right by people", better
    mode, agents = example.mode, example.agents
    if mode not in WORKS or not set(agents) <= roster.keys() or (len(agents) == 1) is not (mode in ALONE):
        return "without a plan of this team", None
    if example.status != "completed" or example.quality_score is None or example.quality_score < min_quality:
        return "of lower quality", None
    if example.corrected:
        return "found good by people", _labelled(example.task, mode, agents)
    if example.decided_by == "model" or example.asked_mode in WORKS:
        return "found good by the judge", _labelled(example.task, mode, agents)
    return "planned by rules, and nobody has said if it was right", None


def _put_right(example: Example, roster: Roster) -> Task | None:
    """What a person's comment says that the plan should have been: "routing: coder, reviewer, sequential".

    Only after that word: a comment that merely speaks of a writer is about the answer.
    """
    if not (found := _ROUTING.search(example.comment)):
        return None
    words = re.findall(r"[\w-]+", found[1].lower())
    agents = tuple(dict.fromkeys(word for word in words if word in roster))
    mode = named_mode([found[1]]) or example.mode
    if not agents:
        return None
    if mode not in WORKS or (len(agents) == 1) is not (mode in ALONE):
        mode = "delegated" if len(agents) == 1 else "sequential"
    return _labelled(example.task, mode, agents)


def _labelled(task: str, mode: Work, agents: tuple[str, ...]) -> Task:
    return Task(task=task, complexity="simple" if mode in ALONE else "complex", mode=mode, agents=agents)


def _judged(example: Example) -> Judgement | None:
    """What an example teaches about assessing: only people's scores are news to a judge."""
    if not example.corrected or example.quality_score is None or example.context or not example.answer.strip():
        return None
    score = example.quality_score
    return Judgement(
        task=example.task,
        answer=example.answer,
        verdict="complete" if score >= 7 else "refine",
        low=max(0.0, score - _BAND),
        high=min(10.0, score + _BAND),
    )


def _packaged_judgements() -> list[Judgement]:
    lines = JUDGEMENTS.read_text(encoding="utf-8").splitlines()
    return [jsontext.decode(line, Judgement) for line in lines if line.strip()]

"""From examples to better decision programs: gather, measure, compile, measure again, and keep what is better.

Held-out examples measure and do nothing else; what is chosen, is chosen on others. A program is saved with where it
came from, and whoever asked for it puts it in force. Nothing is saved that is not better than what is in force.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import BlockingPortal
from msgspec.structs import replace

from agentic_fleet.conversations import new_id
from agentic_fleet.errors import FleetError, innermost
from agentic_fleet.events import now
from agentic_fleet.learning.compile import BY_AUTO, NAMES, Course, Lesson, check, compiled, steps
from agentic_fleet.learning.counting import Counting
from agentic_fleet.learning.curriculum import Curriculum, dealt
from agentic_fleet.learning.grades import Judgement, grade_said_assessment, grade_said_plan
from agentic_fleet.learning.measure import figures, measure_assessments, measure_plans
from agentic_fleet.learning.orders import Order, Outcome, Part
from agentic_fleet.learning.steps import Progress, Tell
from agentic_fleet.learning.tune import STEPS, tuned
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.bridge import Bridge
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.lm import build_lm
from agentic_fleet.workflows.saved import PACKAGED, Saved, SavedClassifier, SavedPrompt, keep, read
from agentic_fleet.workflows.shelf import Programs, build, prompt_of
from agentic_fleet.workflows.tasks import Task

CLASSIFIER = "the classifier"
"""What plans beside a small model, and then is what is optimised."""
_TEACH, _CHOOSE = 48, 32  # tasks that a model is asked to plan: a call each, and more than once
_LEAST = 12  # tasks: fewer show nothing, in teaching, choosing and measuring
_PILES = 3  # of which one chooses


class NothingToLearn(FleetError):
    """There are no examples, or too few of them."""


class Optimisation:
    """One order, carried out once. `completions` is the model that decides; None: the classifier and rules do."""

    def __init__(
        self,
        order: Order,
        *,
        roster: Roster,
        folder: Path,
        version: str,
        basis: Programs,
        completions: Completions | None,
        curriculum: Curriculum,
        tell: Tell = lambda saying, done, of: None,
    ) -> None:
        """`basis` are the packaged programs, `version` the one to improve on; programs are saved below `folder`."""
        self._order = order
        self._roster = roster
        self._folder = folder
        self._basis = basis
        self._curriculum = curriculum
        self._progress = Progress(tell)
        self._kept = None if version == PACKAGED else read(folder, version)
        self._counting = Counting(completions) if completions else None
        self._optimizer = order.optimizer or BY_AUTO[order.auto]
        self._validation: dict[str, Any] = {}

    async def run(self) -> Outcome:
        """Raises NothingToLearn, compile.Missing, ModelFailed, Misfit."""
        began = time.monotonic()
        try:
            outcome = await self._run()
        except ExceptionGroup as group:
            raise innermost(group) from None
        return replace(outcome, seconds=round(time.monotonic() - began, 1), examples=dict(self._curriculum.counts))

    async def _run(self) -> Outcome:
        if self._order.only_count:
            return replace(self._outcome(_counted(self._curriculum)), optimizer="none", model="none")
        there = len(self._curriculum.tasks), len(self._curriculum.held_out)
        if there[0] < _LEAST or not there[1]:
            raise NothingToLearn(
                f"There are too few examples that this team could learn from: {there[0]}, and {there[1]} to measure."
            )
        parts = self._parts()
        if not parts:
            return self._outcome("Rules assess the answers here, and plan: there is nothing that could learn.")
        self._progress.begin("Preparing")
        current = await anyio.to_thread.run_sync(self._current)
        before = {part: await self._measure(part, current, "before") for part in parts}
        made: dict[Part, SavedPrompt | SavedClassifier] = {}
        after = dict(before)
        for part in parts:
            if (better := await self._improved(part, current)) is None:
                continue
            other = await anyio.to_thread.run_sync(self._built, {part: better})
            after[part] = await self._measure(part, other, "after")
            if is_better(after[part], before[part]):
                made[part] = better
        return self._concluded(before, after, made)

    def _parts(self) -> tuple[Part, ...]:
        if self._counting:
            check(self._optimizer)
            return self._order.parts
        return tuple(part for part in self._order.parts if part == "planner" and self._basis.classifier)

    def _current(self) -> Programs:
        return build(self._roster, self._basis, self._kept) if self._kept else self._basis

    def _built(self, parts: dict[Part, Any]) -> Programs:
        return build(self._roster, self._basis, self._saved(parts, {}, {}))

    async def _measure(self, part: Part, programs: Programs, when: str) -> dict[str, Any]:
        curriculum = self._curriculum
        counting = Counting(self._counting) if self._counting else None
        decisions = Decisions(self._roster, lm=build_lm(counting) if counting else None, programs=programs)
        tick = self._progress.tick
        if part == "assessor":
            assert counting  # rules are not optimised
            judgements = curriculum.held_out_judgements
            self._progress.begin(f"Measuring assessments {when}", len(judgements))
            return await measure_assessments(decisions, judgements, counting=counting, tick=tick)
        self._progress.begin(f"Measuring plans {when}", len(curriculum.held_out))
        return figures(await measure_plans(decisions, curriculum.held_out, counting=counting, tick=tick), counting)

    async def _improved(self, part: Part, current: Programs) -> SavedPrompt | SavedClassifier | None:
        """What is better on examples that only choose; None when nothing is."""
        if self._counting is None:
            self._progress.begin("Cross-validating the classifier", STEPS)
            search = partial(tuned, self._roster, self._curriculum, self._order.seed, self._progress.tick)
            better, self._validation["planner"] = await anyio.to_thread.run_sync(search)
            return None if self._kept and better == self._kept.classifier else better
        program = current.planner if part == "planner" else current.assessor
        train, validation = self._plans() if part == "planner" else self._judgements()
        course = Course(
            optimizer=self._optimizer,
            auto=self._order.auto,
            seed=self._order.seed,
            most=self._order.most,
            tick=self._progress.tick,
        )
        said = f"Compiling the {part} with {NAMES[self._optimizer]}"
        self._progress.begin(said, steps(course, len(train), len(validation)))
        async with BlockingPortal() as portal:
            bridge = Bridge(self._counting, portal)
            teach = partial(compiled, program, train, validation, bridge, course)
            other, self._validation[part] = await anyio.to_thread.run_sync(teach)
        return None if other is program else prompt_of(other)

    def _plans(self) -> tuple[list[Lesson], list[Lesson]]:
        """What people taught comes first, then packaged tasks fill up."""
        choose, *teach = dealt(self._curriculum.tasks, _PILES, self._order.seed)
        learned = {task.task for task in self._curriculum.learned}
        train = sorted(sum(teach, []), key=lambda task: task.task not in learned)
        return [self._plan(task) for task in train[:_TEACH]], [self._plan(task) for task in choose[:_CHOOSE]]

    def _plan(self, task: Task) -> Lesson:
        return Lesson(
            inputs={"context": "", "task": task.task, "wanted_changes": ""},
            wanted=f"{task.mode}: {', '.join(task.agents)}",
            grade=lambda said: grade_said_plan(said, task, self._roster),
        )

    def _judgements(self) -> tuple[list[Lesson], list[Lesson]]:
        lessons = [_judged(wanted) for wanted in self._curriculum.judgements]
        return [it for at, it in enumerate(lessons) if at % _PILES][:_TEACH], lessons[::_PILES][:_CHOOSE]

    def _saved(self, parts: dict[Part, Any], before: dict[str, Any], after: dict[str, Any]) -> Saved:
        planner, assessor, kept = parts.get("planner"), parts.get("assessor"), self._kept
        old = (kept.planner, kept.assessor, kept.classifier) if kept else (None, None, None)
        return Saved(
            id=new_id(),
            parent=kept.id if kept else PACKAGED,
            created_at=now(),
            optimizer=self._optimizer_name,
            seed=self._order.seed,
            model=self._model_name,
            examples=len(self._curriculum.tasks) + len(self._curriculum.judgements),
            data=self._curriculum.digest,
            owner=self._order.caller,
            before=before,
            after=after,
            planner=planner if isinstance(planner, SavedPrompt) else old[0],
            assessor=assessor if isinstance(assessor, SavedPrompt) else old[1],
            classifier=planner if isinstance(planner, SavedClassifier) else old[2],
        )

    def _concluded(self, before: dict[Any, Any], after: dict[Any, Any], made: dict[Part, Any]) -> Outcome:
        told = [_sentence(part, before[part], after[part], part in made) for part in before]
        outcome = self._outcome(" ".join(told), before=before, after=after, improved=tuple(made))
        if not made:
            return outcome
        saved = self._saved(made, before, after)
        keep(self._folder, saved)
        return replace(outcome, version=saved.id)

    def _outcome(self, note: str, **more: Any) -> Outcome:
        return Outcome(
            note=note,
            parent=self._kept.id if self._kept else PACKAGED,
            optimizer=self._optimizer_name,
            model=self._model_name,
            validation=self._validation,
            **more,
        )

    @property
    def _optimizer_name(self) -> str:
        return NAMES[self._optimizer] if self._counting else "cross-validation"

    @property
    def _model_name(self) -> str:
        return self._counting.name if self._counting else CLASSIFIER


def is_better(after: dict[str, Any], before: dict[str, Any]) -> bool:
    """A better score that was not bought with worse routing."""
    return bool(after["score"] > before["score"] and after.get("routing", 0) >= before.get("routing", 0))


def _counted(curriculum: Curriculum) -> str:
    learned, packaged = len(curriculum.learned), len(curriculum.packaged)
    told = f"{learned} examples of the history could be learned from, beside {packaged} packaged ones."
    found = [f"{count} {source}" for source, count in curriculum.counts.items() if source != "packaged"]
    return f"{told} Found: {'; '.join(found)}." if found else told


def _judged(wanted: Judgement) -> Lesson:
    return Lesson(
        inputs={"task": wanted.task, "answer": wanted.answer},
        wanted=f"{wanted.verdict}, {wanted.low:g} to {wanted.high:g}",
        grade=lambda said: grade_said_assessment(said, wanted),
    )


def _sentence(part: Part, before: dict[str, Any], after: dict[str, Any], adopted: bool) -> str:
    figure, words = ("routing", "whole teams right") if part == "planner" else ("verdict", "verdicts right")
    if after is before:
        return f"The {part} stays: nothing better was found on the examples that choose."
    scores = f"score {before['score']:.3f} and {after['score']:.3f}"
    told = f"{words} {before[figure]:.1%} before and {after[figure]:.1%} after, {scores}"
    return f"The {part} is better: {told}." if adopted else f"The {part} stays, the new one is not better: {told}."

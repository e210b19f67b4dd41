"""A better prompt for a DSPy program: BootstrapFewShot, MIPROv2 or GEPA, within a bound on the model's calls.

The training examples teach, the validation examples choose; the examples that measure are not seen here.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dspy

from agentic_fleet.errors import FleetError
from agentic_fleet.learning.grades import NOTHING, Grade
from agentic_fleet.learning.measure import DIGITS
from agentic_fleet.workflows.bridge import Bridge
from agentic_fleet.workflows.programs import ShortForm

Optimizer = Literal["bootstrap", "mipro", "gepa"]
Auto = Literal["light", "medium", "heavy"]
BY_AUTO: dict[Auto, Optimizer] = {"light": "bootstrap", "medium": "mipro", "heavy": "gepa"}
NAMES: dict[Optimizer, str] = {"bootstrap": "BootstrapFewShot", "mipro": "MIPROv2", "gepa": "GEPA"}

Graded = Callable[[Any, Any], Grade]  # (example, what the program said)

_ENOUGH = 0.999  # grade from which a decision of the model's own is worth showing to it as an example
_DEMOS = 6  # such decisions in one prompt, beside the packaged ones
_THREADS = 4
_ANY = 1_000_000  # errors: what fails gets its grade here, and `Bridge.gone` tells of a model that is down
_TRIALS: dict[Auto, int] = {"light": 4, "medium": 8, "heavy": 16}  # MIPROv2: combinations tried
_CALLS: dict[Auto, int] = {"light": 100, "medium": 250, "heavy": 600}  # GEPA: decisions graded


class Missing(FleetError):
    """A package that the optimiser needs is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a program learns. `wanted` says the right answer in words; `grade` what an answer is worth."""

    inputs: Mapping[str, str]
    wanted: str
    grade: Callable[[Any], Grade]

    def example(self, number: int) -> Any:
        """For DSPy, which copies examples about: the number is how the lesson is found again."""
        return dspy.Example(**self.inputs, wanted=self.wanted, number=number).with_inputs(*self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a program is to learn. `tick` is called, in any thread, for each decision that was graded."""

    optimizer: Optimizer
    auto: Auto
    seed: int
    most: int | None  # rounds that the client allows
    tick: Callable[[], None]

    @property
    def trials(self) -> int:
        return min(_TRIALS[self.auto], self.most or _ANY)

    @property
    def calls(self) -> int:
        return min(_CALLS[self.auto], (self.most or _ANY) * 25)


def check(optimizer: Optimizer) -> None:
    """Raises Missing."""
    if optimizer == "mipro" and not importlib.util.find_spec("optuna"):
        raise Missing("MIPROv2 needs the package optuna: .venv/bin/pip install -e '.[learning]'.")


def compiled(
    program: Any, train: Sequence[Lesson], validation: Sequence[Lesson], bridge: Bridge, course: Course
) -> tuple[Any, dict[str, float]]:
    """The best program by the validation examples (`program` itself when none is better), and the scores there, 0..1.

    Blocks for minutes; not in the event loop that `bridge` asks. Raises the ModelFailed of a model that went away.
    """
    check(course.optimizer)
    lessons = (*train, *validation)
    examples = [lesson.example(number) for number, lesson in enumerate(lessons)]
    trainset, valset = examples[: len(train)], examples[len(train) :]

    def graded(example: Any, said: Any) -> Grade:
        course.tick()
        number: int = example.number
        return lessons[number].grade(said)

    with bridge.context(ShortForm()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optimisers use what their own libraries call experimental
        before = _validated(program, valset, graded)
        other = _OPTIMIZERS[course.optimizer](program, trainset, valset, bridge, course, graded)
        after = _validated(other, valset, graded)
    if bridge.gone:
        raise bridge.gone
    return (other if after > before else program), {"before": before, "after": after}


def steps(course: Course, train: int, validation: int) -> int:
    """How many decisions `compiled` grades, about."""
    work = {"bootstrap": train, "mipro": 2 * train + course.trials * validation, "gepa": course.calls}
    return work[course.optimizer] + 2 * validation


def _validated(program: Any, valset: Sequence[Any], graded: Graded) -> float:
    """Mean grade, 0..1."""
    evaluate = dspy.Evaluate(
        devset=valset,
        metric=lambda example, said, trace=None: graded(example, said).score,
        num_threads=_THREADS,
        max_errors=_ANY,
        failure_score=NOTHING.score,
        display_progress=False,
    )
    return round(float(evaluate(program).score) / 100, DIGITS)


def _bootstrap(
    program: Any, trainset: list[Any], valset: list[Any], bridge: Bridge, course: Course, graded: Graded
) -> Any:
    """The program's own decisions that were right become examples, beside those it has."""
    optimizer = dspy.BootstrapFewShot(
        metric=lambda example, said, trace=None: graded(example, said).score >= _ENOUGH,
        max_bootstrapped_demos=_DEMOS,
        max_labeled_demos=0,
        max_errors=_ANY,
    )
    taught = optimizer.compile(program, trainset=trainset)
    for predictor, shown in zip(taught.predictors(), program.predictors(), strict=True):
        predictor.demos = [*shown.demos, *predictor.demos]
    return taught


def _mipro(program: Any, trainset: list[Any], valset: list[Any], bridge: Bridge, course: Course, graded: Graded) -> Any:
    """Instructions that the model proposes, and examples, tried together as a search finds promising."""

    def metric(example: Any, said: Any, trace: Any = None) -> float:
        grade = graded(example, said).score
        return float(grade >= _ENOUGH) if trace is not None else grade

    optimizer = dspy.MIPROv2(
        metric=metric,
        prompt_model=bridge.lm,
        task_model=bridge.lm,
        auto=None,
        num_candidates=max(2, course.trials // 2),
        max_bootstrapped_demos=_DEMOS,
        max_labeled_demos=0,
        num_threads=_THREADS,
        max_errors=_ANY,
        seed=course.seed or 1,
    )
    return optimizer.compile(
        program,
        trainset=trainset,
        valset=valset,
        num_trials=course.trials,
        minibatch=False,
        program_aware_proposer=False,  # it would show the model DSPy's own source
    )


def _gepa(program: Any, trainset: list[Any], valset: list[Any], bridge: Bridge, course: Course, graded: Graded) -> Any:
    """Instructions that the model rewrites after reading what was wrong with its decisions."""

    def metric(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        grade = graded(gold, pred)
        return dspy.Prediction(score=grade.score, feedback=grade.feedback)

    optimizer = dspy.GEPA(
        metric=metric,
        max_metric_calls=course.calls,
        reflection_lm=bridge.lm,
        num_threads=_THREADS,
        failure_score=NOTHING.score,
        seed=course.seed,
        warn_on_score_mismatch=False,
    )
    return optimizer.compile(
        program,
        trainset=trainset,
        valset=valset,
    )


_OPTIMIZERS: dict[Optimizer, Callable[..., Any]] = {"bootstrap": _bootstrap, "mipro": _mipro, "gepa": _gepa}

"""A planner for small models: linear models over words and cues, trained at start on the packaged labelled tasks.

A model of 135 million parameters picks one of six agents hardly better than chance; this takes a second or two to train
and a few milliseconds to ask. The tasks (tasks.jsonl) are labelled by this rule:

* fast: the whole answer is a sentence or two (a fact, a word, a number, a greeting).
* delegated: one product of one kind of work.
* sequential: the product of one agent is the material of the next.
* parallel: several pieces of work that do not need each other, on one subject, put together at the end.
* agents: in working order; in parallel, in the order the task names them. The first is the lead: a researcher finds
  and explains facts, an analyst calculates, compares and decides, a writer makes texts for readers, a reviewer judges
  work that exists, a coder deals in code and commands, a planner puts steps in order.
* complexity: simple when one agent is enough, else complex.
* held_out: every fifth task, balanced over leads and modes; never trained on, only scored.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.cues import IN_TURN, SIDE_BY_SIDE, first_places, own_words, spoken
from agentic_fleet.workflows.plans import ALONE, WORKS, Complexity, Plan, Work

TASKS = Path(__file__).with_name("tasks.jsonl")
_C = 4.0  # inverse regularisation; by cross-validation on the training tasks, where 2 to 8 are equal
_GIVEN = 2.0  # weight of cues and shape beside the words, likewise
_READ = 2_000  # characters of a task; each thousand costs 10 ms of the event loop
_JOINS = 0.5  # probability from which a third agent joins
_LEAD, _MODE = "the lead", "the mode"  # questions; those about single agents are their names

Features = dict[str, float]


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One labelled task. `subtasks` follow `agents`; only the few tasks that serve as demonstrations have them."""

    task: str
    complexity: Complexity
    mode: Work
    agents: tuple[str, ...]
    subtasks: tuple[str, ...] = ()
    held_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Accuracy on the held-out tasks, 0..1. `agents` counts the whole set as right or wrong, whatever its order."""

    tasks: int
    lead: float
    mode: float
    complexity: float
    agents: float


class Classifier:
    """Trained when it is made, which takes a second or two of one core: make it in a worker thread, once.

    Raises ImportError without scikit-learn, and ValueError when `roster` has fewer than two of the labelled agents.
    """

    def __init__(self, roster: Roster) -> None:
        known = [task for task in labelled_tasks() if set(task.agents) <= roster.keys()]
        train = [task for task in known if not task.held_out]
        leads = list(dict.fromkeys(task.agents[0] for task in train))
        if len(leads) < 2:
            raise ValueError("the roster has fewer than two of the agents that the packaged tasks know")
        self._roster = roster
        texts = [task.task for task in train]
        who: dict[str, list[Any]] = {name: [name in task.agents for task in train] for name in leads}
        who[_LEAD] = [task.agents[0] for task in train]
        self._who = _Reader(self._agent_features, texts, who)
        self._how = _Reader(self._mode_features, texts, {_MODE: [task.mode for task in train]})
        self.score = self._score([task for task in known if task.held_out])

    def plan(self, task: str) -> Plan:
        """A few milliseconds of CPU for a task of usual length."""
        chances = self._how.chances(task)[_MODE]
        mode = max(WORKS, key=lambda mode: chances.get(mode, 0))
        if self._roster.bounds.max_agents < 2 and mode not in ALONE:
            mode = "delegated"
        agents = self._agents(task, alone=mode in ALONE)
        return Plan(
            complexity="simple" if mode in ALONE else "complex",
            mode=mode,
            agents=agents,
            reason=f"It resembles labelled tasks that call for {spoken(self._roster.skills(agents))}.",
            decided_by="classifier",
        )

    def _agents(self, task: str, *, alone: bool) -> tuple[str, ...]:
        """The lead; then the likeliest other, and who else is likely, in the order in which the task names them."""
        chances = self._who.chances(task)
        leads = chances.pop(_LEAD)
        lead = max(leads, key=leads.__getitem__)
        if alone:
            return (lead,)
        others = sorted((name for name in chances if name != lead), key=lambda name: -chances[name][True])
        likely = [name for name in others[1 : self._roster.bounds.max_agents - 1] if chances[name][True] >= _JOINS]
        places = first_places(task, self._roster)
        return (lead, *sorted(others[:1] + likely, key=lambda name: places.get(name, math.inf)))

    def _agent_features(self, task: str) -> Features:
        places = first_places(task, self._roster)
        features = {f"near {name}": 1 / (1 + place / 20) for name, place in places.items()}
        features |= {f"has {name}": 1.0 for name in places}
        words = own_words(task)
        features |= {f"much {name}": min(len(self._roster[name].pattern.findall(words)), 3) / 3 for name in places}
        return features | {f"first {name}": 1.0 for name in list(places)[:1]}

    def _mode_features(self, task: str) -> Features:
        words, length, kinds = own_words(task), len(task.split()), len(first_places(task, self._roster))
        return {
            "in turn": min(sum(1 for _ in IN_TURN.finditer(words)), 2),
            "side by side": min(sum(1 for _ in SIDE_BY_SIDE.finditer(words)), 2),
            "kinds": kinds / 2,
            "several kinds": kinds >= 2,
            "no kind": kinds == 0,
            "length": min(length, 60) / 30,
            "short": length <= 8,
            "shortish": length <= 12,
            "question": task.rstrip().endswith("?"),
            "commas": min(words.count(","), 4) / 2,
            "colon": ":" in task,
        }

    def _score(self, tasks: Sequence[Task]) -> Score:
        plans = [self.plan(task.task) for task in tasks]

        def right(same: Callable[[Plan, Task], bool]) -> float:
            return sum(map(same, plans, tasks)) / max(1, len(tasks))

        return Score(
            tasks=len(tasks),
            lead=right(lambda plan, task: plan.agents[0] == task.agents[0]),
            mode=right(lambda plan, task: plan.mode == task.mode),
            complexity=right(lambda plan, task: plan.complexity == task.complexity),
            agents=right(lambda plan, task: set(plan.agents) == set(task.agents)),
        )


def labelled_tasks() -> list[Task]:
    """All packaged tasks, in the order of the file."""
    return [msgspec.convert(json.loads(line), Task) for line in TASKS.read_text(encoding="utf-8").splitlines()]


class _Reader:
    """Reads a task once to answer several questions about it. `labels` has, for each question, one per text."""

    def __init__(
        self, features: Callable[[str], Features], texts: Sequence[str], labels: Mapping[str, Sequence[Any]]
    ) -> None:
        # Imported here because it costs two seconds, and because it is not installed beside a large model.
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

        self._features = _features(features)
        read = self._features.fit_transform(texts)
        model = partial(LogisticRegression, C=_C, max_iter=1000)
        with threadpool_limits(1):  # more threads only spin on problems of this size
            self._models = {question: model().fit(read, answers) for question, answers in labels.items()}

    def chances(self, task: str) -> dict[str, dict[Any, float]]:
        """For each question, the probability of each answer. Of a long task, its beginning decides."""
        read = self._features.transform([task[:_READ]])
        return {
            question: dict(zip(model.classes_.tolist(), model.predict_proba(read)[0].tolist(), strict=True))
            for question, model in self._models.items()
        }


def _features(given: Callable[[str], Features]) -> Any:
    """Word pairs, pieces of words (for other languages and spellings), the opening words, and what is `given`."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion, make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    words = partial(TfidfVectorizer, sublinear_tf=True)
    parts = [
        ("words", words(ngram_range=(1, 2), strip_accents="unicode")),
        ("pieces", words(ngram_range=(2, 5), strip_accents="unicode", analyzer="char_wb")),
        ("opening", words(ngram_range=(1, 2), preprocessor=_opening)),
        ("given", make_pipeline(FunctionTransformer(lambda tasks: [given(task) for task in tasks]), DictVectorizer())),
    ]
    return FeatureUnion(parts, transformer_weights={"given": _GIVEN})


def _opening(task: str) -> str:
    return " ".join(task.lower().split()[:4])

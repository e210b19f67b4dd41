"""A planner for small models: linear models over words and cues, trained on labelled tasks (tasks.py).

A model of 135 million parameters picks one of six agents hardly better than chance; this takes a second or two to train
and a few milliseconds to ask. What it has learned is kept as what it learned from: the tasks and the knobs, never as
numbers that nobody can read; it is trained anew wherever it is needed.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Annotated, Any

import msgspec

from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.cues import IN_TURN, SIDE_BY_SIDE, first_places, own_words, spoken
from agentic_fleet.workflows.features import Features, Reader, clauses
from agentic_fleet.workflows.plans import ALONE, WORKS, Plan, Work
from agentic_fleet.workflows.tasks import Task, labelled_tasks

_FOLDS = 5  # for what the reader of whole tasks learns about the reader of clauses
_LEAD, _MODE, _AGENT = "the lead", "the mode", "the agent"  # questions; those about single agents are their names
_TINY = 1e-9

Chances = dict[str, dict[Any, float]]
Reading = tuple[Chances, Chances]  # of the agents and of the mode


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it learns and decides. The defaults train in two seconds and are among the best by cross-validation on the
    packaged tasks; optimisation tries others, which take longer."""

    c: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 4.0  # inverse regularisation
    given: Annotated[float, msgspec.Meta(gt=0, le=100)] = 2.0  # weight of cues and shape beside the words
    by_clause: bool = False  # reads each clause of a task by itself, too
    joins: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5  # probability from which a third agent joins
    together: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0  # above 0: mode and agents are chosen as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Accuracy on the held-out tasks, 0..1. `agents` counts the whole set as right or wrong, whatever its order."""

    tasks: int
    lead: float
    mode: float
    complexity: float
    agents: float


class Classifier:
    """Trained when it is made, which takes seconds of one core: make it in a worker thread, once.

    `learned` are tasks to learn from besides the packaged ones (`packaged` are these, unless some are to be kept out).
    Raises ImportError without scikit-learn, and ValueError when `roster` has fewer than two of the labelled agents.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        learned: Sequence[Task] = (),
        knobs: Knobs | None = None,
        packaged: Sequence[Task] | None = None,
    ) -> None:
        self._roster = roster
        self.knobs = knobs = knobs or Knobs()
        self.learned = tuple(learned)
        basis = labelled_tasks() if packaged is None else packaged
        known = [task for task in (*basis, *learned) if set(task.agents) <= roster.keys()]
        train = [task for task in known if not task.held_out]
        leads = list(dict.fromkeys(task.agents[0] for task in train))
        if len(leads) < 2:
            raise ValueError("the roster has fewer than two of the agents that the packaged tasks know")
        self._held_out = [task for task in known if task.held_out]
        texts = [task.task for task in train]
        who: dict[str, list[Any]] = {
            name: [name in task.agents for task in train]
            for name in leads
            if any(name not in task.agents for task in train)
        }
        who[_LEAD] = [task.agents[0] for task in train]
        features = self._with_clauses(train) if knobs.by_clause else self._agent_features
        self._who = Reader(features, texts, who, c=knobs.c, weight=knobs.given)
        how = {_MODE: [task.mode for task in train]}
        self._how = Reader(self._mode_features, texts, how, c=knobs.c, weight=knobs.given)

    def deciding(self, *, joins: float, together: float) -> "Classifier":
        """The same, trained as it is, with other knobs for what it makes of its chances."""
        other = copy(self)
        other.knobs = msgspec.structs.replace(self.knobs, joins=joins, together=together)
        return other

    def plan(self, task: str) -> Plan:
        """A few milliseconds of CPU for a task of usual length."""
        (reading,) = self.readings([task])
        return self.decide(task, reading)

    def readings(self, tasks: Sequence[str]) -> list[Reading]:
        """What it sees in the tasks, at less cost than one by one."""
        return list(zip(self._who.all_chances(tasks), self._how.all_chances(tasks), strict=True))

    def decide(self, task: str, reading: Reading) -> Plan:
        """The plan that its knobs make of what was seen in the task."""
        who, modes = dict(reading[0]), reading[1][_MODE]
        leads = who.pop(_LEAD)
        mode, agents = (self._together if self.knobs.together else self._one_by_one)(who, leads, modes)
        if len(agents) > 1:
            places = first_places(task, self._roster)
            agents = (agents[0], *sorted(agents[1:], key=lambda name: places.get(name, math.inf)))
        return Plan(
            complexity="simple" if mode in ALONE else "complex",
            mode=mode,
            agents=agents,
            reason=f"It resembles labelled tasks that call for {spoken(self._roster.skills(agents))}.",
            decided_by="classifier",
        )

    @cached_property
    def score(self) -> Score:
        """On the packaged held-out tasks. Takes as long as planning all of them."""
        plans = [self.plan(task.task) for task in self._held_out]

        def right(same: Callable[[Plan, Task], bool]) -> float:
            return sum(map(same, plans, self._held_out)) / max(1, len(plans))

        return Score(
            tasks=len(plans),
            lead=right(lambda plan, task: plan.agents[0] == task.agents[0]),
            mode=right(lambda plan, task: plan.mode == task.mode),
            complexity=right(lambda plan, task: plan.complexity == task.complexity),
            agents=right(lambda plan, task: set(plan.agents) == set(task.agents)),
        )

    def _one_by_one(
        self, who: Chances, leads: dict[str, float], modes: dict[Work, float]
    ) -> tuple[Work, tuple[str, ...]]:
        """The mode, the lead; then the likeliest other, and who else is likely."""
        mode = max(WORKS, key=lambda mode: modes.get(mode, 0))
        most = self._roster.bounds.max_agents
        if most < 2 and mode not in ALONE:
            mode = "delegated"
        lead = max(leads, key=leads.__getitem__)
        if mode in ALONE:
            return mode, (lead,)
        others = sorted((name for name in who if name != lead), key=lambda name: -who[name][True])
        likely = [name for name in others[1 : most - 1] if who[name][True] >= self.knobs.joins]
        return mode, (lead, *others[:1], *likely)

    def _together(
        self, who: Chances, leads: dict[str, float], modes: dict[Work, float]
    ) -> tuple[Work, tuple[str, ...]]:
        """The likeliest mode, lead and set of agents, taken as a whole."""
        most = min(self._roster.bounds.max_agents, 3, len(who))
        best, choice = -math.inf, self._one_by_one(who, leads, modes)
        for size in range(1, most + 1):
            for team in combinations(who, size):
                lead = max(team, key=lambda name: leads.get(name, 0.0))
                fit = sum(_log(who[name][name in team]) for name in who) * self.knobs.together + _log(leads.get(lead))
                for mode in WORKS:
                    if (size == 1) is (mode in ALONE) and (sure := fit + _log(modes.get(mode))) > best:
                        best, choice = sure, (mode, (lead, *(name for name in team if name != lead)))
        return choice

    def _with_clauses(self, train: Sequence[Task]) -> Callable[[str], Features]:
        """The features of a whole task, with what a reader of clauses says of its clauses.

        Of a task that it was trained on, a reader would be too sure: there, one speaks that has not seen it.
        """
        told: dict[str, Features] = {}
        for fold in range(_FOLDS):
            reader = self._taught_clauses([task for at, task in enumerate(train) if at % _FOLDS != fold])
            for task in train[fold::_FOLDS]:
                told[task.task] = self._clause_features(reader, task.task)
        reader = self._taught_clauses(train)

        def features(task: str) -> Features:
            return self._agent_features(task) | (told.get(task) or self._clause_features(reader, task))

        return features

    def _taught_clauses(self, train: Sequence[Task]) -> Reader:
        """Whose work is it? A task for one agent says so as a whole, one for several when it has a clause for each."""
        pairs = [(task.task, task.agents[0]) for task in train if task.mode in ALONE]
        for task in train:
            if task.mode not in ALONE and len(parts := clauses(task.task)) == len(task.agents):
                pairs += zip(parts, task.agents, strict=True)
        texts, agents = zip(*pairs, strict=True)
        return Reader(self._agent_features, texts, {_AGENT: agents}, c=self.knobs.c, weight=self.knobs.given)

    def _clause_features(self, reader: Reader, task: str) -> Features:
        said = [chances[_AGENT] for chances in reader.all_chances(clauses(task))]
        features = {f"clause {name}": max(chances[name] for chances in said) for name in said[0]}
        return features | {f"first clause {name}": chance for name, chance in said[0].items()}

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


def _log(chance: float | None) -> float:
    return math.log((chance or 0.0) + _TINY)

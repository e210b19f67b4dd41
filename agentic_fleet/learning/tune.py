"""A better classifier: more to learn from, and the knobs that cross-validation finds best.

Only tasks that teach are looked at: each is planned by a classifier that has not seen it.
"""

from collections.abc import Callable

from agentic_fleet.learning.curriculum import Curriculum, dealt
from agentic_fleet.learning.grades import Grade, grade_plan
from agentic_fleet.learning.measure import score
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.classifier import Classifier, Knobs
from agentic_fleet.workflows.cues import simple_plan
from agentic_fleet.workflows.saved import SavedClassifier

FOLDS = 5
TRAINED = (
    Knobs(),
    Knobs(c=12.0),
    Knobs(by_clause=True),
    Knobs(by_clause=True, given=1.0),
)
"""What is trained: seconds for each fold."""
DECIDING = ((0.5, 0.0), (0.4, 0.0), (0.5, 0.25), (0.5, 0.5))
"""What is then tried at the cost of asking: (joins, together)."""
STEPS = FOLDS * len(TRAINED)


def tuned(
    roster: Roster, curriculum: Curriculum, seed: int, tick: Callable[[], None] = lambda: None
) -> tuple[SavedClassifier, dict[str, float]]:
    """The best of the knobs, and what cross-validation says of it and of the defaults (0..1). Takes a minute or two of
    one core. Of equals the first wins, and that is the default. Raises ValueError when there is too little to learn."""
    tasks = curriculum.tasks
    folds = dealt(tasks, FOLDS, seed)
    grades: dict[Knobs, list[Grade]] = {}
    for knobs in TRAINED:
        for fold in folds:
            held = {task.task for task in fold}
            rest = [task for task in tasks if task.task not in held]
            classifier = Classifier(roster, packaged=rest, knobs=knobs)
            read = classifier.readings([task.task for task in fold])
            for joins, together in DECIDING:
                other = classifier.deciding(joins=joins, together=together)
                plans = [
                    simple_plan(task.task, roster) or other.decide(task.task, reading)  # as a run decides
                    for task, reading in zip(fold, read, strict=True)
                ]
                grades.setdefault(other.knobs, []).extend(map(grade_plan, plans, fold))
            tick()
    scores = {knobs: score(given) for knobs, given in grades.items()}
    best = max(scores, key=scores.__getitem__)
    return SavedClassifier(knobs=best, learned=curriculum.learned), {
        "packaged": scores[Knobs()],
        "chosen": scores[best],
    }

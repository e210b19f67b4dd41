"""Assessing an answer by rules: what can be seen without understanding it. Cheap, repeatable, and no model's opinion.

It serves fast answers, small models (whose own scores are near random), and decisions that came to nothing.
"""

import re
from collections import Counter
from collections.abc import Callable

from agentic_fleet.workflows.plans import Assessment, Flag, Verdict

_SOUND = 8.0  # 0..10, for an answer that no rule finds fault with: rules cannot see excellence
_REFUSAL = re.compile(
    r"^\W*((i'?m|i am) (very )?sorry|sorry|i (cannot|can't|am unable|won't)|as an ai|es tut mir leid"
    r"|ich kann (leider )?nicht|je suis désolé|lo siento|mi dispiace)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w{4,}")
_WHOLE = re.compile(r"[.!?…:;)\]}\"'”“»`*|>\d-]\s*$|```\s*$")
_SHORT = 40  # words; a shorter answer may end without a full stop and need not repeat the question's words
_RUN = 6  # words in a row: when they come again, that is repetition, not style
_REPEATED = 0.3  # share of an answer's runs that are repeats from which it counts as going in circles


def assess_by_rules(task: str, answer: str, *, cut: bool = False) -> Assessment:
    """The worst fault decides. `cut` says that the answer was stopped at its bound."""
    if not answer.strip():
        return Assessment(verdict="refine", score=0, missing="The answer is empty.", decided_by="rules")
    if cut:
        return Assessment(
            verdict="continue", score=5, missing="The answer was too long and was cut.", decided_by="rules"
        )
    for fault, score, missing in _FAULTS:
        if fault(task, answer):
            verdict: Verdict = "continue" if fault is _breaks_off else "refine"
            return Assessment(verdict=verdict, score=score, missing=missing, decided_by="rules")
    return Assessment(verdict="complete", score=_SOUND, decided_by="rules")


def flag_of(answer: str, score: float, pass_score: float) -> Flag | None:
    """What is to be said of an answer beside its score, whoever gave that. A refusal is one also when it was right."""
    if not answer.strip():
        return "empty"
    if _refuses("", answer):
        return "refusal"
    return "low_confidence" if score < pass_score else None


def _goes_in_circles(task: str, answer: str) -> bool:
    words = answer.lower().split()
    runs = Counter(tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1))
    return runs.total() > 2 * _RUN and 1 - len(runs) / runs.total() > _REPEATED


def _refuses(task: str, answer: str) -> bool:
    return len(answer.split()) <= 2 * _SHORT and _REFUSAL.match(answer) is not None


def _echoes(task: str, answer: str) -> bool:
    return len(task.split()) > 3 and " ".join(answer.lower().split()) == " ".join(task.lower().split())


def _breaks_off(task: str, answer: str) -> bool:
    return len(answer.split()) > _SHORT and (not _WHOLE.search(answer) or answer.count("```") % 2 == 1)


def _misses_the_subject(task: str, answer: str) -> bool:
    """No word of the task, nor a beginning of one, comes back in a long answer. Other languages and code do that too,
    so it costs little."""
    asked = {word[:5] for word in _WORD.findall(task.lower())}
    told = {word[:5] for word in _WORD.findall(answer.lower())}
    return len(asked) >= 4 and len(answer.split()) > _SHORT and not asked & told


_FAULTS: tuple[tuple[Callable[[str, str], bool], float, str], ...] = (
    (_goes_in_circles, 2, "The answer repeats itself."),
    (_refuses, 3, "The answer declines the task."),
    (_echoes, 3, "The answer only repeats the task."),
    (_breaks_off, 5, "The answer breaks off."),
    (_misses_the_subject, 6, "The answer hardly mentions what was asked."),
)

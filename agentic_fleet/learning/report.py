"""An evaluation as people and programs read it: Markdown, JSON, and a comparison with an earlier one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentic_fleet.errors import Invalid

Report = dict[str, Any]

SHARES = (
    ("routing", "Routing accuracy: whole teams right"),
    ("lead", "Lead right"),
    ("mode", "Mode accuracy"),
    ("complexity", "Complexity right"),
    ("valid", "Valid plans"),
)
"""Figures of plans, 0..1: these are compared."""
_COSTS = (("calls", "model calls"), ("prompt_tokens", "prompt tokens"), ("completion_tokens", "completion tokens"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure, then and now. `worse`: by more than the margin."""

    name: str
    before: float
    after: float
    worse: bool


def compared(report: Report, baseline: Mapping[str, Any], margin: float) -> list[Change]:
    """`margin` is a share: 0.021 is one task of 48, and for quality 0.21 of ten. Times are not compared: they are
    the machine's. Raises Invalid when the two have not measured the same tasks."""
    if report["tasks"] != baseline.get("tasks"):
        raise Invalid("The baseline has measured other tasks, so the two cannot be compared.")
    found = [_change(report["plans"], baseline.get("plans"), name, margin) for name, _ in (*SHARES, ("score", ""))]
    if report["answers"] and baseline.get("answers") and report["answers"]["tasks"] == baseline["answers"].get("tasks"):
        found.append(_change(report["answers"], baseline["answers"], "quality", margin * 10))
    return [change for change in found if change]


def markdown(report: Report, changes: Sequence[Change] = ()) -> str:
    """Ends with a newline."""
    plans, before = report["plans"], {change.name: change for change in changes}
    lines = [
        "# Evaluation",
        "",
        f"{report['tasks']['count']} tasks ({report['tasks']['name']}), decided by {_by(plans['decided_by'])}; model: "
        f"{report['model']}; programs: {report['program_version']}; {report['at']}.",
        "",
        "| figure | value |" + (" baseline | change |" if before else ""),
        "|---|---|" + ("---|---|" if before else ""),
    ]
    for name, words in (*SHARES, ("score", "Score of the plans, 0 to 1")):
        form = "{:.3f}" if name == "score" else "{:.1%}"
        lines.append(_row(words, plans[name], before.get(name), form, bool(before)))
    filler = " | |" if before else ""
    latency = plans["latency_ms"]
    lines.append(f"| Time to plan, median and 95th percentile | {latency['median']} and {latency['p95']} ms |{filler}")
    lines += [f"| Planning: {words} a task | {_count(plans[name])} |{filler}" for name, words in _COSTS]
    if answers := report["answers"]:
        words = f"Quality of {answers['tasks']['count']} answers, 0 to 10, by {_by(answers['decided_by'])}"
        lines.append(_row(words, answers["quality"], before.get("quality"), "{:.2f}", bool(before)))
        lines.append(f"| Failed runs | {answers['failed']} |{filler}")
        lines.append(
            f"| Time to answer, median and longest | {answers['median_s']} and {answers['longest_s']} s |{filler}"
        )
        lines += [f"| Whole run: {words} a task | {_count(answers[name])} |{filler}" for name, words in _COSTS]
    lines += ["", "| mode | tasks | teams right | mode right |", "|---|---|---|---|"]
    lines += [_group(name, figures) for name, figures in report["by_mode"].items()]
    lines += ["", "| lead | tasks | teams right | mode right |", "|---|---|---|---|"]
    lines += [_group(name, figures) for name, figures in report["by_lead"].items()]
    return "\n".join(lines) + "\n"


def _change(after: Mapping[str, Any], before: Mapping[str, Any] | None, name: str, margin: float) -> Change | None:
    old, new = (before or {}).get(name), after.get(name)
    if old is None or new is None:
        return None
    return Change(name=name, before=old, after=new, worse=new < old - margin - 1e-9)


def _row(words: str, value: float | None, change: Change | None, form: str, wide: bool) -> str:
    told = "unknown" if value is None else form.format(value)
    if change is None:
        return f"| {words} | {told} |" + (" | |" if wide else "")
    moved = "equal" if change.after == change.before else "worse" if change.worse else "better"
    if moved == "better" and change.after < change.before:
        moved = "a little worse, within the margin"
    return f"| {words} | {told} | {form.format(change.before)} | {moved} |"


def _group(name: str, figures: Mapping[str, Any]) -> str:
    return f"| {name} | {figures['tasks']} | {figures['routing']:.0%} | {figures['mode']:.0%} |"


def _by(decided_by: Mapping[str, int]) -> str:
    return ", ".join(f"{who} ({count})" for who, count in decided_by.items()) or "nobody"


def _count(value: float | None) -> str:
    return "not told by the model" if value is None else f"{value:g}"

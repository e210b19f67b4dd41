"""`scripts/optimize`: better decision programs from examples, put in force for the next run.

It works in FLEET_HOME beside a running service, which uses what was put in force from its next run on; or without one.

Exit codes: 0 done: something better is in force, or nothing was better; 1 it failed; 2 wrong usage; 130 stopped.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import anyio
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agentic_fleet import events
from agentic_fleet.errors import BadSetting, FleetError, Invalid, innermost
from agentic_fleet.learning.compile import Auto, Optimizer
from agentic_fleet.learning.orders import MODULES, Order, Outcome, Said, Work
from agentic_fleet.learning.process import optimised
from agentic_fleet.settings import Settings
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.fleet import PROGRAMS
from agentic_fleet.workflows.saved import PACKAGED
from agentic_fleet.workflows.tasks import read_tasks

_FIGURES = (("routing", "whole teams right"), ("mode", "mode right"), ("verdict", "verdicts right"), ("score", "score"))


def optimise(settings: Settings, work: Work, console: Console) -> Outcome:
    with Progress(console=console, transient=True) as bar:
        line = bar.add_task("Starting", total=None)

        def hear(said: Said) -> None:
            bar.update(line, description=said.saying, completed=said.done, total=said.of or None)

        return anyio.run(optimised, work, settings, hear)


def adopt(folder: Path, outcome: Outcome) -> str:
    """What became of it, in a sentence."""
    if outcome.version is None:
        return "What was in force stays."
    if saved.in_force(folder) != outcome.parent:
        return f"Another program was put in force meanwhile: this one is kept as {outcome.version}."
    saved.put_in_force(folder, outcome.version)
    return f"Program {outcome.version} is in force from the next run on; `--adopt {outcome.parent}` goes back."


def show(outcome: Outcome, console: Console) -> None:
    table = Table("", "figure", "before", "after", title=f"On held-out examples ({outcome.model}, {outcome.optimizer})")
    for part, before in outcome.before.items():
        after = outcome.after[part]
        for name, words in _FIGURES:
            if name in before:
                form = "{:.3f}" if name == "score" else "{:.1%}"
                table.add_row(part, words, form.format(before[name]), form.format(after[name]))
    if outcome.before:
        console.print(table)
    for source, count in outcome.examples.items():
        console.print(f"examples {source}: {count}")
    console.print(outcome.note)


def list_programs(folder: Path, console: Console) -> None:
    current = saved.in_force(folder)
    table = Table("program", "in force", "made", "by", "from", "score before", "score after")
    for kept in saved.listing(folder):
        score = [", ".join(f"{it['score']:.3f}" for it in figures.values()) for figures in (kept.before, kept.after)]
        mark = "yes" if kept.id == current else ""
        table.add_row(kept.id, mark, events.rfc3339(kept.created_at)[:19], kept.optimizer, kept.parent, *score)
    table.add_row(PACKAGED, "yes" if current == PACKAGED else "", "", "", "", "", "")
    console.print(table)


def main() -> int:
    given = _arguments().parse_args()
    console = Console()
    try:
        settings = Settings.from_env()
        return _carried_out(given, settings, console)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"{error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 2
    except (FleetError, ExceptionGroup) as error:
        cause = innermost(error)
        if not isinstance(cause, FleetError):
            raise
        print(cause, file=sys.stderr)
        return 2 if isinstance(cause, Invalid | BadSetting) else 1


def _carried_out(given: argparse.Namespace, settings: Settings, console: Console) -> int:
    folder = settings.home / PROGRAMS
    if given.list:
        list_programs(folder, console)
    elif given.adopt:
        saved.put_in_force(folder, given.adopt)
        console.print(f"Program {given.adopt} is in force from the next run on.")
    else:
        outcome = optimise(settings, _work(given), Console(stderr=True))
        show(outcome, console)
        console.print(adopt(folder, outcome))
    return 0


def _work(given: argparse.Namespace) -> Work:
    more = read_tasks(given.examples.read_text(encoding="utf-8")) if given.examples else []
    order: dict[str, Any] = {
        "parts": MODULES[given.module],
        "auto": given.auto,
        "optimizer": given.optimizer,
        "seed": given.seed,
        "most": given.rounds,
        "history": not given.no_history,
        "min_quality": given.min_quality,
        "limit": given.limit,
    }
    return Work(order=Order(**order), more=tuple(more))


def _within(kind: type[float], low: float, high: float) -> Callable[[str], float]:
    """For argparse: a number of that kind from `low` to `high`."""

    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not from {low} to {high}")
        return value

    return number


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/optimize", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--auto", choices=get_args(Auto), default="light", help="effort; chooses the optimiser")
    parser.add_argument("--optimizer", choices=get_args(Optimizer), help="another one than that of --auto")
    parser.add_argument("--module", choices=tuple(MODULES), default="all", help="what is optimised")
    parser.add_argument(
        "--seed", type=_within(int, 0, 2**31 - 1), default=0, help="the same seed and examples give the same split"
    )
    parser.add_argument("--rounds", type=_within(int, 1, 1000), help="rounds of MIPROv2 and GEPA, at most")
    parser.add_argument("--examples", type=Path, help="labelled tasks to learn from besides, a file of JSON lines")
    parser.add_argument("--no-history", action="store_true", help="do not learn from what runs did")
    quality, runs = _within(float, 0, 10), _within(int, 1, 10_000)
    parser.add_argument("--min-quality", type=quality, default=8.0, help="of runs that are learned from, 0 to 10")
    parser.add_argument("--limit", type=runs, default=200, help="runs that are learned from")
    parser.add_argument("--list", action="store_true", help="list the programs that there are")
    parser.add_argument("--adopt", metavar="PROGRAM", help="put that one in force")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`scripts/evaluate`: exact figures of the decision programs in force, on labelled tasks, and of the answers to some.

Exit codes: 0 measured, and not worse than the baseline; 1 worse than the baseline by more than the margin; 2 wrong
usage; 3 it could not be measured, because the model failed.
"""

import argparse
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from agentic_fleet import events, jsontext
from agentic_fleet.errors import BadSetting, FleetError, ModelFailed, innermost
from agentic_fleet.learning.answering import answered, identity, spread
from agentic_fleet.learning.counting import Counting
from agentic_fleet.learning.measure import Planned, figures, measure_plans
from agentic_fleet.learning.report import Report, compared, markdown
from agentic_fleet.learning.steps import Tell
from agentic_fleet.settings import Settings
from agentic_fleet.workflows.agents import Roster, load_roster
from agentic_fleet.workflows.fleet import open_fleet, plans_by_model
from agentic_fleet.workflows.journal import Journaled
from agentic_fleet.workflows.models import open_model
from agentic_fleet.workflows.saved import write_whole
from agentic_fleet.workflows.tasks import Task, labelled_tasks, read_tasks

REPORTS = "evaluations"
"""Where below the home folder reports go."""


async def evaluate(
    settings: Settings,
    tasks: Sequence[Task],
    *,
    name: str,
    answers: int,
    version: str | None = None,
    tick: Tell = lambda saying, done, of: None,
) -> Report:
    """Plan all the tasks and carry out `answers` of them. `version` are other programs than those in force.

    Raises FleetError; ModelFailed when the model fails while it plans.
    """
    async with open_model(settings) as model:
        counting = Counting(model.completions)
        model = model.over(Journaled(counting))
        async with open_fleet(settings, model) as fleet:
            if version:
                await fleet.shelf.pin(version)
            programs = await fleet.shelf.in_force()
            tasks = [task for task in tasks if set(task.agents) <= fleet.roster.keys()]
            if not tasks:
                raise BadSetting("None of the tasks is for this team.")
            by_model = plans_by_model(settings, small=model.small)
            done = Counter[str]()

            def planned() -> None:
                done["plans"] += 1
                tick("Planning", done["plans"], len(tasks))

            made = await measure_plans(
                fleet.decisions.using(programs), tasks, counting=counting if by_model else None, tick=planned
            )
            report: Report = {
                "at": events.rfc3339(events.now()),
                "tasks": identity(tasks, name),
                "model": model.name,
                "program_version": programs.version,
                "plans": figures(made, counting if by_model else None),
                "by_mode": _groups(made, lambda task: task.mode),
                "by_lead": _groups(made, lambda task: task.agents[0]),
                "answers": await answered(fleet, counting, spread(tasks, answers), tick) if answers else None,
            }
    return report


def _groups(planned: Sequence[Planned], key: Callable[[Task], str]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Planned]] = defaultdict(list)
    for each in planned:
        groups[key(each.task)].append(each)
    return {
        name: {
            "tasks": len(group),
            "routing": sum(each.grade.right["routing"] for each in group) / len(group),
            "mode": sum(each.grade.right["mode"] for each in group) / len(group),
        }
        for name, group in groups.items()
    }


def main() -> int:
    given = _arguments().parse_args()
    try:
        settings = Settings.from_env()
        name, tasks = _tasks(given, load_roster(settings.roster))
        baseline = jsontext.decode(given.baseline.read_bytes(), dict[str, Any]) if given.baseline else None
        return _measured(settings, given, name, tasks, baseline)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except (FleetError, ExceptionGroup) as error:
        cause = innermost(error)
        if not isinstance(cause, FleetError):
            raise
        print(cause, file=sys.stderr)
        return 3 if isinstance(cause, ModelFailed) else 2


def _measured(
    settings: Settings, given: argparse.Namespace, name: str, tasks: Sequence[Task], baseline: dict[str, Any] | None
) -> int:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        lines: dict[str, Any] = {}

        def tick(saying: str, done: int, of: int) -> None:
            if saying not in lines:
                lines[saying] = bar.add_task(saying, total=of)
            bar.update(lines[saying], completed=done)

        report = anyio.run(
            lambda: evaluate(settings, tasks, name=name, answers=given.answers, version=given.program, tick=tick)
        )
    changes = compared(report, baseline, given.margin) if baseline else []
    text = markdown(report, changes)
    stamp = report["at"].replace(":", "").partition(".")[0]
    folder = settings.home / REPORTS
    kept = given.json or folder / f"{stamp}.json"
    write_whole(kept, jsontext.encode(report) + b"\n")
    write_whole(given.markdown or folder / f"{stamp}.md", text.encode())
    Console().print(Markdown(text))
    print(f"To compare with this one later: --baseline {kept}", file=sys.stderr)
    worse = [change for change in changes if change.worse]
    for change in worse:
        print(
            f"Worse than the baseline: {change.name} {change.after:g}, was {change.before:g} "
            f"(--margin {given.margin:g}; one task is {1 / report['tasks']['count']:.3f}).",
            file=sys.stderr,
        )
    return 1 if worse else 0


def _tasks(given: argparse.Namespace, roster: Roster) -> tuple[str, list[Task]]:
    if given.tasks:
        return given.tasks.name, read_tasks(given.tasks.read_text(encoding="utf-8"))
    wanted = {"held-out": (True,), "training": (False,), "all": (True, False)}[given.split]
    return f"packaged, {given.split}", [task for task in labelled_tasks() if task.held_out in wanted]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=Path, help="labelled tasks in a file of JSON lines")
    parser.add_argument("--split", choices=("held-out", "training", "all"), default="held-out", help="packaged ones")
    parser.add_argument("--answers", type=_count, default=6, help="tasks that are carried out, too (default: 6)")
    parser.add_argument("--program", help="another version of the decision programs than the one in force")
    parser.add_argument("--baseline", type=Path, help="a JSON report to compare with")
    parser.add_argument("--margin", type=_share, default=0.02, help="share that may be lost (one task of 48 is 0.021)")
    parser.add_argument("--json", type=Path, help="where the JSON report goes (default: FLEET_HOME/evaluations)")
    parser.add_argument("--markdown", type=Path, help="where the Markdown report goes (likewise)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tasks")
    return int(text)


def _share(text: str) -> float:
    try:
        if 0 <= (value := float(text)) <= 1:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")


if __name__ == "__main__":
    logging.getLogger("agentic_fleet").setLevel(logging.ERROR)
    sys.exit(main())

"""`python -m tests.load [--quick] [--rounds N]`, which is what scripts/bench starts."""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.load import alone
from tests.load.cells import FULL, QUICK, Cells, Plan
from tests.load.child import ROOT
from tests.load.report import Report
from tests.load.subjects import stage


def main() -> None:
    parser = argparse.ArgumentParser("scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute at most: that it works, not how fast it is")
    parser.add_argument("--rounds", type=int, help="of which the median counts; 3 by default")
    parser.add_argument("--json", type=Path, default=ROOT / ".var/bench.json", help="where to write the figures")
    given = parser.parse_args()
    plan = QUICK if given.quick else FULL
    report = measure(replace(plan, rounds=given.rounds or plan.rounds))
    print(report.markdown())
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(report.json(), encoding="utf-8")
    print(f"\nAll of it is in {given.json}", file=sys.stderr)


def measure(plan: Plan) -> Report:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_disk()) as folder, stage(Path(folder)) as running:
        _say("the store alone")
        command = [sys.executable, "-m", "tests.load.durable", folder, str(plan.stored)]
        store = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
        _say("start, memory, watchers")
        by_itself = alone.measure(running, plan)
        cells = Cells(plan)
        for what in cells.measure(running):
            _say(what)
    return Report(cells, by_itself, store)


def _disk() -> Path:
    """Where the service keeps its store by default: a folder in memory would flatter it."""
    folder = ROOT / ".var"
    folder.mkdir(exist_ok=True)
    return folder


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


main()

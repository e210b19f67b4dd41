"""How long and how complex functions may be, and how they are. `python -m tests.limits` fails when one is beyond.

Ruff counts the ways through a function (C901) and stops at ten; what may never be is a handler or `map_workflow_event`
of fifteen, even where somebody has told ruff to look away, and a function of more than sixty lines.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "agentic_fleet"
LINES = 60
WAYS = 15
"""The first number of ways that is too many."""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions and methods of a file, each with its lines from `def` to its last."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def ways(path: Path) -> dict[str, int]:
    """Of each function in a file or a folder that has more than one, by `file:line name`."""
    limits = ["--isolated", "--ignore-noqa", "--select=C901", "--config=lint.mccabe.max-complexity=1"]
    command = [sys.executable, "-m", "ruff", "check", *limits, "--output-format=json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, check=False, text=True).stdout)
    counted = {}
    for each in found:  # its message: `name` is too complex (3 > 1)
        _, name, count = each["message"].split("`")
        place = Path(each["filename"]).relative_to(ROOT)
        counted[f"{place}:{each['location']['row']} {name}"] = int(count.partition("(")[2].split()[0])
    return counted


def beyond() -> list[str]:
    """What is too long or too complex, in words."""
    files = [ROOT / "app.py", *sorted(PACKAGE.rglob("*.py"))]
    long = [
        f"{path.relative_to(ROOT)} {name}: {lines} lines, more than {LINES}"
        for path in files
        for name, lines in functions(path)
        if lines > LINES
    ]
    return long + [f"{name}: {count} ways, {WAYS} or more" for name, count in ways(PACKAGE).items() if count >= WAYS]


if __name__ == "__main__":
    sys.exit("\n".join(beyond()) or 0)

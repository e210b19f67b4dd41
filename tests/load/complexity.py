"""How complex the handlers and the mapping are, as ruff counts it, and how long functions are."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.load.child import ROOT

PACKAGE = ROOT / "agentic_fleet"
SOCKET, SSE, MAPPING = "web/socket.py", "web/sse.py", "workflows/mapping.py"


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions and methods of a file, each with its lines from `def` to its last."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def cyclomatic(name: str) -> dict[str, int]:
    """Of each function in a file of the package that has more than one way through it."""
    limit = ["--isolated", "--select=C901", "--config=lint.mccabe.max-complexity=1", "--output-format=json"]
    command = [sys.executable, "-m", "ruff", "check", *limit, str(PACKAGE / name)]
    found = json.loads(subprocess.run(command, capture_output=True, check=False, text=True).stdout)
    words = [each["message"].split("`") for each in found]  # `name` is too complex (3 > 1)
    return {each[1]: int(each[2].split("(")[1].split()[0]) for each in words}


def lines(name: str, function: str) -> int:
    return dict(functions(PACKAGE / name))[function]

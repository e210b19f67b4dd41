"""Frameworks stay in their rooms, imports point down, and the parts stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.limits import beyond

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "agentic_fleet"
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

ROOMS = {
    "starlette": {"web"},
    "sse_starlette": {"web"},
    "agent_framework": {"workflows"},
    "dspy": {"workflows", "learning"},
    "sklearn": {"workflows"},
    "xllamacpp": {"workflows"},
    "mcp": {"workflows"},
    "sqlite3": {"store"},
    "prometheus_client": {"metrics.py"},
    "opentelemetry": {"workflows", "spans.py"},
    "uvicorn": {"testing", "connection.py"},
    "httpx": {"testing"},
    "httpx_sse": {"testing"},
    "websockets": {"testing"},
    "asyncio": {"workflows"},
    "aiohttp": {"workflows", "cli"},
    "rich": {"cli", "learning"},
}
"""Which rooms may import a library; app.py stands outside the package and opens them all."""

BELOW = {
    "store": set(),
    "workflows": {"store"},
    "runs": {"store"},
    "learning": {"store", "workflows"},
    "web": {"store", "workflows", "runs", "learning"},
    "cli": set(),
    "testing": {"store", "workflows", "runs", "learning", "web"},
}
"""Which rooms a room may import besides the plain data."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.parts[1]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_libraries_are_imported_in_their_rooms_only(path: Path) -> None:
    for name in imports(path):
        library = name.split(".")[0]
        if library in ROOMS:
            assert room(path) in ROOMS[library], f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path: Path) -> None:
    allowed = BELOW.get(room(path), set()) | {room(path)}
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "agentic_fleet" and len(parts) > 1 and parts[1] in BELOW:
            assert parts[1] in allowed, f"{path} imports {name}"
        assert parts[0] != "app", f"{path} imports {name}"


def test_only_one_file_may_use_asyncio() -> None:
    assert [str(path) for path in MODULES if "asyncio" in set(imports(path))] in (
        [],
        ["agentic_fleet/workflows/framework.py"],
    )


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_says_what_it_is_and_stays_small(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= 320, f"{path} has grown: is there a second noun inside?"


def test_no_function_is_longer_or_more_complex_than_it_may_be() -> None:
    assert beyond() == []


def test_a_function_that_is_too_long_or_too_complex_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = "".join(f"    if x == {n}:\n        return {n}\n" for n in range(14))
    text = f"def many(x):  # noqa: C901\n{ways}\ndef long():\n" + "    pass\n" * 60
    (tmp_path / "app.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr("tests.limits.ROOT", tmp_path)
    monkeypatch.setattr("tests.limits.PACKAGE", tmp_path)
    assert set(beyond()) == {"app.py long: 61 lines, more than 60", "app.py:1 many: 15 ways, 15 or more"}


@pytest.mark.parametrize("path", [*MODULES, Path("README.md")], ids=str)
def test_nobody_is_told_to_install_us_from_an_index(path: Path) -> None:
    """There is another package of this name on PyPI."""
    assert "install 'agentic-fleet" not in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_name_hides_what_a_thing_does(path: Path) -> None:
    for word in ("manager", "service", "helper", "util", "base"):
        assert word not in path.stem

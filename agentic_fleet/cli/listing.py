"""Lists for people as tables, for pipes as JSON, one object a line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from agentic_fleet.cli.plain import cut, plain

WIDE = 200
"""Columns where there is no terminal to tell how many fit."""
CELL = 60
"""Characters of one cell, at most, where a row is to be a line."""
_GOOD, _BAD, _ODD = "green", "red", "yellow"
_COLOURS = {"completed": _GOOD, "ok": _GOOD, "failed": _BAD, "cancelled": _ODD, "interrupted": _ODD, "warning": _ODD}


def show_json(rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        print(json.dumps(row))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "", most: int = CELL) -> None:
    """`empty` is what is said when there are no rows; `most` characters of each cell are shown.

    The first column is what a row is called: whole also where it is narrow, because people type it.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=not table.columns)
    for row in rows:
        table.add_row(*(plain(cut(cell, most), _COLOURS.get(str(cell), "")) for cell in row))
    _print(table if table.row_count else empty)


def show_facts(facts: Mapping[str, Any]) -> None:
    """One thing, a line for each fact that is known."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            said = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
            grid.add_row(plain(name, "bold"), plain(str(said)))
    _print(grid)


def _print(what: Table | str) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=WIDE)
    console.print(what)


def when(at: str | None) -> str:
    """The time of a JSON answer, to the second."""
    return (at or "")[:19].replace("T", " ")

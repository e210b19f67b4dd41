"""The faults and inputs that the service must take, by number, and the mark that says which tests show one.

A test of any room carries ``@row(17, 18)``; test_table.py sees to it that no row is without a test or a reason.
``python -m tests.faults.table`` prints the table with its tests.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent

row = pytest.mark.row
"""The numbers, in `ROWS`, of what a test shows."""

ROWS = {
    1: "a reader closes its connection in mid-stream",
    2: "a reader's connection is reset",
    3: "a reader closes its half of the connection",
    4: "a reader's machine is gone without a word",
    5: "a reader of an event stream stops reading",
    6: "a peer on a socket stops reading",
    7: "a reader takes a kilobyte a second",
    8: "a reader reconnects after every event of a finished run",
    9: "a reader is cut at random while events are being made",
    10: "a reader comes back with the last position",
    11: "a position is ahead of the log, negative, huge, text, or empty",
    12: "a position is in another run, or in another owner's",
    13: "a position is older than what memory keeps",
    14: "a position stands in the query and in the header",
    15: "one run has two, ten, two hundred readers",
    16: "a reader comes before the first event, after the last, or with it",
    17: "a running run is cancelled",
    18: "a run is cancelled twice, fifty times at once, after its end, or does not exist",
    19: "cancelling races completion",
    20: "a run is cancelled while its tool blocks a thread",
    21: "a run is cancelled while it waits for a human",
    22: "an agent's code swallows its cancellation",
    23: "an agent's code raises anything at all",
    24: "a human answers twice",
    25: "an answer is to a question that is unknown, over, or another run's",
    26: "one of two questions is answered",
    27: "an answer comes before anybody has read its question",
    28: "SIGTERM with 100 event streams, 100 sockets and 5 live runs",
    29: "SIGTERM with a reader that has stopped reading",
    30: "SIGTERM with a run whose tool blocks a thread",
    31: "SIGTERM twice; SIGINT; a signal while starting",
    32: "kill -9 at any moment",
    33: "a killed run goes on from its checkpoint",
    34: "a run is resumed twice at once",
    35: "a checkpoint is cut off, garbage, or of another version",
    36: "the disk is full in the middle of a run",
    37: "another process holds the store's lock",
    38: "the last line of a file of examples is torn",
    39: "two processes append examples",
    40: "a request to start a run is repeated with its Idempotency-Key",
    41: "a proxy loses its upstream while a run is being started",
    42: "a body is no JSON, empty, a list, in another encoding or of another type",
    43: "a body has 10,000 levels, very many keys, 5,000 digits, NaN",
    44: "a text has half an emoji, NUL, line separators",
    45: "a body is over the limit, however it is sent",
    46: "an event is over the limit",
    47: "an id is '..', a path, a control character, 300 characters, an emoji",
    48: "a symbolic link is in the service's folder",
    49: "a line end is in a name or an id",
    50: "control characters are in what is logged",
    51: "a page of a foreign origin, of none, of 'null' opens a socket",
    52: "a socket's peer breaks the protocol, or floods it",
    53: "a socket's peer shows no key, a wrong one, or says nothing",
    54: "a frame is unknown, malformed, one of a thousand at once",
    55: "a key is in the query",
    56: "X-Forwarded-For is forged, directly or through proxies",
    57: "Host is forged",
    58: "pages of listed and unlisted origins ask before they send",
    59: "hundreds of requests are never finished",
    60: "headers have 20 MB, or are a million",
    61: "too many streams are open, in all or of one caller",
    62: "proxies that buffer and compress",
    63: "a proxy that closes what is quiet",
    64: "everything under a path",
    65: "a tool blocks for seconds",
    66: "the clock is set back by an hour",
    67: "a command reaches a worker that does not have the run",
    68: "the worker that has the run dies",
    69: "thousands of short runs, one after the other",
    70: "the ids of runs at the same time in their logs",
    71: "every method on every route",
    72: "how errors are told",
}

REASONS = {
    48: "No name of a file is made from anything that a client says, and the folder is the operator's, who may link.",
    67: "One process by design (DESIGN.md, section 8): a second one on the same folder is refused at its start.",
    68: "One process by design (DESIGN.md, section 8); what its death does to its runs is row 32.",
}
"""Why a row has no test."""


def marks() -> Iterator[tuple[int, str]]:
    """Each row that a test shows, with the test's name, from the sources: also when only some tests are collected."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for number in _rows(node):
                    yield number, f"{path.relative_to(TESTS.parent)}::{node.name}"


def _rows(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "row":
            yield from (ast.literal_eval(number) for number in mark.args)


def _print() -> None:
    shown = list(marks())
    for number, fault in ROWS.items():
        print(f"{number:2} {fault}")
        for test in [test for each, test in shown if each == number] or [REASONS.get(number, "(nothing)")]:
            print(f"     {test}")


if __name__ == "__main__":
    _print()

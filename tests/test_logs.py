"""Lines of the log: which ids they have, and what never reaches them."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from agentic_fleet import context
from agentic_fleet.errors import FleetError
from agentic_fleet.logs import ConsoleLines, JsonLines

SECRET = "the-word-of-the-user"


def logged(form: logging.Formatter, text: str, *values: object, failing: Callable[[], Any] | None = None) -> str:
    raised = None
    try:
        if failing:
            failing()
    except Exception:
        raised = sys.exc_info()
    record = logging.LogRecord("agentic_fleet.runs", logging.WARNING, __file__, 1, text, values, raised)
    context.ContextFilter().filter(record)
    return form.format(record)


def test_a_json_line_has_the_ids_that_are_bound_and_no_others() -> None:
    with context.bind(request_id="q1", run_id="r1", conversation_id="c1", trace_id="t1", caller="alice"):
        line = json.loads(logged(JsonLines(), "run %s", "started"))
    assert line.pop("time").endswith("Z")
    ids = {"request_id": "q1", "run_id": "r1", "conversation_id": "c1", "trace_id": "t1"}
    assert line == {"level": "WARNING", "logger": "agentic_fleet.runs", "message": "run started", **ids}
    assert not {"run_id", "trace_id"} & json.loads(logged(JsonLines(), "no run")).keys()


def test_a_console_line_has_them_too_and_stays_one_line() -> None:
    with context.bind(request_id="q1", run_id="r1"):
        line = logged(ConsoleLines(), "so it is: %s", "a\n2026-01-01T00:00:00.000Z INFO forged\x1b[2J")
    assert line.endswith(r"so it is: a\n2026-01-01T00:00:00.000Z INFO forged\x1b[2J request=q1 run=r1")
    assert "\n" not in line


def quotes() -> None:
    try:
        dict[str, str]()[SECRET]
    except KeyError as error:
        raise ExceptionGroup(SECRET, [ValueError(SECRET), FleetError("It is full.\nforged")]) from error


@pytest.mark.parametrize("form", [JsonLines(), ConsoleLines()])
def test_an_error_tells_where_it_was_and_nothing_that_it_quotes(form: logging.Formatter) -> None:
    line = logged(form, "it failed", failing=quotes)
    assert SECRET not in line
    for words in ("builtins.KeyError", "in quotes", "ExceptionGroup", "builtins.ValueError", "It is full."):
        assert words in line
    told = json.loads(line)["exception"] if line.startswith("{") else line
    assert "\nforged" not in told


@pytest.mark.parametrize("form", [JsonLines(), ConsoleLines()])
def test_an_error_of_the_system_names_no_file_because_a_model_may_have_chosen_it(form: logging.Formatter) -> None:
    line = logged(form, "it failed", failing=lambda: open(f"/nowhere/{SECRET}"))
    assert "builtins.FileNotFoundError: No such file or directory" in line
    assert SECRET not in line


def test_an_error_of_python_about_code_says_which_code() -> None:
    line = logged(ConsoleLines(), "it failed", failing=lambda: object().missing)  # type: ignore[attr-defined]  # it is
    assert "AttributeError: 'object' object has no attribute 'missing'" in line

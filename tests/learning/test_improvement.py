"""scripts/optimize as it is typed: what it puts in force, how to go back, what its exit codes say."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentic_fleet.learning import improvement
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.fleet import PROGRAMS
from agentic_fleet.workflows.saved import PACKAGED
from tests.learning.player import Player


@pytest.fixture
def scripted() -> Any:
    """In a thread of its own: the command runs an event loop itself."""
    with ScriptedModel(Player()) as model:
        yield model


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scripted: ScriptedModel) -> Callable[..., int]:
    """scripts/optimize with these arguments, on the scripted model; its exit code."""
    for name in ("FLEET_ROSTER", "FLEET_PLANNER", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLEET_MODEL", "scripted")
    monkeypatch.setenv("OPENAI_BASE_URL", scripted.base_url)
    monkeypatch.setenv("FLEET_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["optimize", *arguments])
        with ThreadPoolExecutor(1) as thread:  # other tests' browsers may keep an event loop in this one
            try:
                return thread.submit(improvement.main).result()
            except SystemExit as usage:
                return int(usage.code or 0)

    return run


def test_what_is_better_is_in_force_and_one_goes_back_by_name(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / PROGRAMS
    assert command("--auto", "light", "--module", "planner") == 0
    version = saved.in_force(folder)
    told = capsys.readouterr()
    assert version != PACKAGED
    assert f"Program {version} is in force from the next run on; `--adopt packaged` goes back." in told.out
    assert "whole teams right" in told.out
    assert command("--list") == 0
    assert version in (listed := capsys.readouterr().out) and "BootstrapFewShot" in listed
    assert command("--adopt", PACKAGED) == 0
    assert saved.in_force(folder) == PACKAGED
    assert command("--adopt", version) == 0
    assert saved.in_force(folder) == version
    assert command("--adopt", "stranger") == 1
    assert saved.in_force(folder) == version


def test_a_model_that_is_down_changes_nothing(
    command: Callable[..., int], scripted: ScriptedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.reply = lambda body: Reply(status=401)
    assert command("--module", "planner") == 1
    assert "The model failed while it was measured" in capsys.readouterr().err
    assert saved.in_force(tmp_path / PROGRAMS) == PACKAGED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--min-quality", "11"], "--min-quality: '11' is not from 0 to 10"),
        (["--min-quality", "good"], "--min-quality: 'good' is not from 0 to 10"),
        (["--rounds", "0"], "--rounds: '0' is not from 1 to 1000"),
        (["--limit", "1.5"], "--limit: '1.5' is not from 1 to 10000"),
        (["--seed", "-1"], "--seed: '-1' is not from 0"),
        (["--examples", "nowhere.jsonl"], "nowhere.jsonl: No such file"),
    ],
)
def test_wrong_usage_is_said_before_anything_begins(
    command: Callable[..., int],
    scripted: ScriptedModel,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    assert command(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not scripted.calls


def test_a_line_that_is_no_task_is_named(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('\n{"task": "Sing.", "complexity": "simple", "mode": "fast"}\n')
    assert command("--examples", str(path)) == 2
    assert "line 2: agents: required" in capsys.readouterr().err

"""Evaluation: exact figures, reports for people and programs, and an exit code that says when something got worse."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet import jsontext
from agentic_fleet.errors import Invalid
from agentic_fleet.learning import evaluation
from agentic_fleet.learning.counting import Counting
from agentic_fleet.learning.measure import figures, measure_plans
from agentic_fleet.learning.report import compared, markdown
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.learning.player import Player

HELD_OUT = [task for task in labelled_tasks() if task.held_out]


@pytest.fixture
def scripted() -> Any:
    """In a thread of its own: the command runs an event loop itself."""
    with ScriptedModel(Player(able=70)) as model:
        yield model


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scripted: ScriptedModel) -> Callable[..., int]:
    """scripts/evaluate with these arguments, on the scripted model; its exit code."""
    for name in ("FLEET_ROSTER", "FLEET_PLANNER", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FLEET_MODEL", "scripted")
    monkeypatch.setenv("OPENAI_BASE_URL", scripted.base_url)
    monkeypatch.setenv("FLEET_HOME", str(tmp_path / "home"))
    configure_dspy()

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
        with ThreadPoolExecutor(1) as thread:  # other tests' browsers may keep an event loop in this one
            return thread.submit(evaluation.main).result()

    return run


async def test_the_figures_are_exact(fake: ScriptedModel, endpoint: Endpoint) -> None:
    configure_dspy()
    fake.reply = Player(able=60)
    counting = Counting(endpoint)
    decisions = Decisions(load_roster(), lm=build_lm(counting))
    with anyio.fail_after(30):
        made = await measure_plans(decisions, HELD_OUT, counting=counting)
    found = figures(made, counting)
    teams = [set(each.plan.agents) == set(each.task.agents) for each in made]
    assert found["routing"] == round(sum(teams) / 48, 4)
    assert found["mode"] == round(sum(each.plan.mode == each.task.mode for each in made) / 48, 4)
    assert found["calls"] == round(len(fake.calls) / 48, 2) == round(45 / 48, 2)
    assert found["decided_by"] == {"model": 45, "rule": 3}
    assert found["prompt_tokens"] > 1
    assert [each.task for each in made] == HELD_OUT


async def test_tokens_that_a_model_does_not_tell_are_unknown(fake: ScriptedModel, endpoint: Endpoint) -> None:
    counting = Counting(endpoint)
    fake.reply = lambda body: Reply("yes", usage=(3, 1))
    async for _ in counting.stream({"messages": []}):
        pass
    assert (counting.calls, counting.prompt_tokens, counting.completion_tokens) == (1, 3, 1)
    fake.reply = lambda body: Reply("yes", end_after=1)
    with pytest.raises(Exception, match="broke off"):
        async for _ in counting.stream({"messages": []}):
            pass
    assert (counting.calls, counting.prompt_tokens) == (2, None)


def test_a_report_is_written_for_people_and_for_programs(command: Callable[..., int], tmp_path: Path) -> None:
    report, text = tmp_path / "report.json", tmp_path / "report.md"
    assert command("--answers", "4", "--json", str(report), "--markdown", str(text)) == 0
    found = jsontext.decode(report.read_bytes(), dict[str, Any])
    assert found["tasks"]["count"] == 48
    assert found["program_version"] == "packaged"
    assert found["plans"]["valid"] == 1
    assert (found["answers"]["tasks"]["count"], found["answers"]["failed"]) == (4, 0)
    assert 8 <= found["answers"]["quality"] <= 9
    assert found["answers"]["calls"] > 1
    assert {name: group["tasks"] for name, group in found["by_mode"].items()} == {
        "fast": 12,
        "delegated": 12,
        "sequential": 12,
        "parallel": 12,
    }
    assert f"| Routing accuracy: whole teams right | {found['plans']['routing']:.1%} |" in text.read_text()


def test_the_exit_code_says_whether_it_is_worse_than_the_baseline(
    command: Callable[..., int], scripted: ScriptedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--answers", "0") == 0
    report = capsys.readouterr().err.strip().rpartition("--baseline ")[2]  # as it says itself
    assert command("--answers", "0", "--baseline", report) == 0  # equal
    scripted.reply = Player(able=40)
    assert command("--answers", "0", "--baseline", report) == 1
    assert "Worse than the baseline: routing" in capsys.readouterr().err
    assert command("--answers", "0", "--baseline", report, "--margin", "1") == 0
    assert command("--answers", "0", "--baseline", report, "--split", "training") == 2  # other tasks
    assert len(list((tmp_path / "home" / "evaluations").glob("*.md"))) > 0


def test_what_cannot_be_measured_is_no_figure(
    command: Callable[..., int], scripted: ScriptedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.reply = lambda body: Reply(status=401)
    assert command("--answers", "0") == 3
    assert "failed while it was measured" in capsys.readouterr().err
    assert command("--tasks", str(tmp_path / "none.jsonl")) == 2
    (tmp_path / "bad.jsonl").write_text('{"task": "t", "mode": "fast"}\n')
    assert command("--tasks", str(tmp_path / "bad.jsonl")) == 2
    assert command("--program", "stranger", "--answers", "0") == 2
    assert not (tmp_path / "home" / "evaluations").exists()


def test_tasks_of_ones_own_are_measured(command: Callable[..., int], tmp_path: Path) -> None:
    path, report = tmp_path / "own.jsonl", tmp_path / "report.json"
    path.write_bytes(b"\n".join(jsontext.encode(task) for task in HELD_OUT[:3]))
    assert command("--tasks", str(path), "--answers", "0", "--json", str(report)) == 0
    assert jsontext.decode(report.read_bytes(), dict[str, Any])["tasks"]["name"] == "own.jsonl"


def report_of(**plans: float) -> dict[str, Any]:
    figures = {"routing": 0.8, "lead": 0.9, "mode": 0.9, "complexity": 0.9, "valid": 1.0, "score": 0.9, **plans}
    costs = {"calls": 1, "prompt_tokens": None, "completion_tokens": 2}
    latency = {"median": 1, "p95": 2}
    tasks = {"name": "n", "count": 48, "sha256": "x"}
    plan = {**figures, **costs, "latency_ms": latency, "decided_by": {"model": 48}}
    return {"at": "now", "tasks": tasks, "model": "m", "program_version": "p", "plans": plan, "by_mode": {},
            "by_lead": {}, "answers": None}  # fmt: skip


def test_only_what_lies_beyond_the_margin_is_worse() -> None:
    before = report_of()
    for routing, worse in ((0.81, False), (0.8, False), (0.775, False), (0.77, True)):
        changes = {change.name: change.worse for change in compared(report_of(routing=routing), before, 0.025)}
        assert changes["routing"] is worse
        assert not changes["mode"]
    text = markdown(report_of(routing=0.77), compared(report_of(routing=0.77), before, 0.025))
    assert "| Routing accuracy: whole teams right | 77.0% | 80.0% | worse |" in text
    assert "not told by the model" in text
    with pytest.raises(Invalid):
        compared(before, {**before, "tasks": {"sha256": "y"}}, 0.02)

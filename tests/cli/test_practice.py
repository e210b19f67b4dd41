"""scripts/practice against a whole service: what it asks, what it says of the answers, what is learned from that."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.cli.practice import TASKS
from agentic_fleet.testing import Body, Reply, ScriptedModel, running_fleet
from agentic_fleet.testing.fleet import APP, environment
from agentic_fleet.testing.reply import is_decision
from agentic_fleet.workflows.tasks import Task, read_tasks
from tests.learning.player import plan_of

LABELS = {task.task: task for task in read_tasks(TASKS.read_text(encoding="utf-8"))}

KEY = "0123456789abcdef"


async def practised(url: str, *arguments: str, key: str = "") -> subprocess.CompletedProcess[bytes]:
    with anyio.fail_after(40):
        return await anyio.run_process(
            [sys.executable, "-m", "agentic_fleet", "practice", "--url", url, *arguments],
            env=environment(Path("nowhere"), more={"FLEET_API_KEY": key}),
            cwd=APP.parent,
            check=False,
        )


def coders(body: Body) -> Reply:
    """Plans what is a coder's as it should be; all else is a coder's, too."""
    text = body["messages"][-1]["content"]
    task = next((task for task in LABELS.values() if task.task in text), None)
    if "mode" not in _asked(body):
        return Reply("It is done.")
    return Reply(tokens=[json.dumps(plan_of(task if task and task.agents[0] == "coder" else None))])


def _asked(body: Body) -> dict[str, Any]:
    wanted = body.get("response_format") if is_decision(body) else None
    fields: dict[str, Any] = wanted["json_schema"]["schema"]["properties"] if wanted else {}
    return fields


async def test_every_task_gets_the_feedback_of_its_label_and_teaches() -> None:
    async with ScriptedModel(coders) as model, running_fleet(model, api_keys=[f"alice:{KEY}"]) as fleet:
        done = await practised(fleet.url, "--tasks", "12", "--json", key=KEY)
        assert done.returncode == 0, done.stderr.decode()
        history = await fleet.get("/api/v1/history")
        assert len(history) == 12 == len({each["task"] for each in history} & LABELS.keys())
        right = [each for each in history if _right(each, LABELS[each["task"]])]
        assert json.loads(done.stdout) == {"tasks": 12, "right": len(right), "wrong": 12 - len(right), "failed": 0}
        assert 0 < len(right) < 12
        for each in history:
            label = LABELS[each["task"]]
            said = f"routing: {', '.join([*label.agents, label.mode])}"
            wanted = {"score": 9} if each in right else {"score": 3, "comment": said}
            assert {name: each["feedback"].get(name) for name in wanted} == wanted
            assert ("comment" in each["feedback"]) is (each not in right)
        lessons = await fleet.get("/api/v1/dspy/examples")
        assert {(each["task"], *each["agents"], each["mode"]) for each in lessons if each["learned"]} == {
            (each["task"], *LABELS[each["task"]].agents, LABELS[each["task"]].mode) for each in history
        }


def _right(execution: dict[str, Any], label: Task) -> bool:
    plan = execution["plan"]
    return set(plan["agents"]) == set(label.agents) and plan["mode"] == label.mode


async def test_what_failed_is_counted_with_its_reasons() -> None:
    async with ScriptedModel(Reply(status=400)) as model, running_fleet(model, api_keys=[f"alice:{KEY}"]) as fleet:
        done = await practised(fleet.url, "--tasks", "2", key=KEY)
        assert done.returncode == 1
        assert b"2 runs failed" in done.stderr and b"rejected the request (400)" in done.stderr
        assert [each["feedback"] for each in await fleet.get("/api/v1/history")] == [None, None]
        stranger = await practised(fleet.url, "--tasks", "2", key="wrong")
        assert stranger.returncode == 1
        assert b"2 times: The service refused" in stranger.stderr and b"(401)" in stranger.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--url", "http://127.0.0.1:1"], 3), (["--url", "nonsense"], 2), (["--tasks", "0"], 2), (["--tasks", "-1"], 2)],
    ids=str,
)
async def test_wrong_usage_and_no_service_have_codes_of_their_own(arguments: list[str], code: int) -> None:
    done = await practised("http://127.0.0.1:1", *arguments)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr

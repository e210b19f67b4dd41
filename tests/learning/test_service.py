"""The whole of it over HTTP, as the original's dashboard uses it: a service, its jobs, its programs, its restarts."""

from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.testing import Body, Events, Fleet, Refused, Reply, ScriptedModel, collect, running_fleet, watch
from agentic_fleet.testing.reply import is_decision
from agentic_fleet.workflows.tasks import labelled_tasks
from tests.learning.player import Player

TASK = next(task.task for task in labelled_tasks() if task.mode == "sequential" and not task.held_out)
OTHER = next(task.task for task in labelled_tasks() if task.mode == "parallel" and not task.held_out)
ORDER: dict[str, Any] = {
    "module_name": "DSPyReasoner",
    "user_id": "default_user",
    "auto_mode": "light",
    "examples_path": "/etc/passwd",
    "use_history_examples": True,
    "history_min_quality": 8,
    "history_limit": 200,
    "options": {"optimizer": "bootstrap", "max_iterations": 10},
}
"""What the original's dashboard sends, and a path that it could send."""


async def finished_job(fleet: Fleet, job_id: str) -> dict[str, Any]:
    """As the dashboard does: it asks again and again."""
    seen = -1
    while True:
        job: dict[str, Any] = await fleet.get(f"/api/v1/optimization/jobs/{job_id}")
        assert job.get("progress_current", 0) >= seen
        seen = job.get("progress_current", 0)
        if job["status"] not in ("pending", "running"):
            return job
        await anyio.sleep(0.1)


def versions(events: Events) -> dict[str, str]:
    """The program that made each decision of a run, by the thought's kind."""
    told = [(event.kind or "", event.data or {}) for event in events if event.type == "orchestrator.thought"]
    return {kind: data["program_version"] for kind, data in told if "program_version" in data}


async def versions_of_a_run(fleet: Fleet) -> set[str]:
    return set(versions(await collect(fleet, TASK)).values())


def script(held: anyio.Event | None = None) -> Callable[[Body], Reply]:
    """The player's decisions; agents answer, those at work on OTHER when they may."""
    player = Player()

    def reply(body: Body) -> Reply:
        text = body["messages"][-1]["content"]
        if not is_decision(body):
            return Reply("Re: done.", hold_before=held if OTHER in text else None)
        return player(body)

    return reply


async def test_a_service_gets_better_without_a_restart(tmp_path: Path) -> None:
    held = anyio.Event()
    with anyio.fail_after(120):
        async with ScriptedModel(script(held)) as model, running_fleet(model, home=tmp_path) as fleet:
            assert await versions_of_a_run(fleet) == {"packaged"}
            await _the_prompts_are_what_the_model_was_sent(fleet, model)
            under_way = await fleet.start(OTHER)  # its agents wait, and it ends after the swap
            await model.wait_for(lambda: any(call.state == "open" for call in model.calls))

            answer = await fleet.http.post("/api/v1/optimization/jobs", json=ORDER)
            assert answer.status_code == 202
            assert answer.headers["location"] == f"/api/v1/optimization/jobs/{answer.json()['job_id']}"
            with pytest.raises(Refused) as refused:
                await fleet.post("/api/v1/optimization/jobs", ORDER)
            assert refused.value.status == 409
            job = await finished_job(fleet, answer.json()["job_id"])
            assert (job["status"], job["progress_percent"], job["error"]) == ("completed", 100, None)
            assert (job["details"]["outcome"], job["user_id"]) == ("adopted", "default_user")
            assert job["details"]["score_after"] > job["details"]["score_before"]
            assert job["progress_completed"] is True

            held.set()
            async with aclosing(watch(fleet, under_way.run_id)) as events:
                assert set(versions(Events([event async for event in events])).values()) == {"packaged"}
            assert await versions_of_a_run(fleet) == {job["result_artifact"]}
            await _the_prompts_are_what_the_model_was_sent(fleet, model)
            cache = await fleet.get("/api/v1/dspy/cache")
            assert (cache["exists"], cache["optimizer"]) == (True, "BootstrapFewShot")
            assert cache["cache_size_bytes"] > 1000
            await fleet.restart()
            assert await versions_of_a_run(fleet) == {job["result_artifact"]}
            (kept,) = await fleet.get("/api/v1/optimization/jobs")
            assert (kept["job_id"], kept["status"]) == (job["job_id"], "completed")


async def test_a_service_goes_back_to_any_earlier_program_and_forward_again(tmp_path: Path) -> None:
    with anyio.fail_after(120):
        async with ScriptedModel(script()) as model, running_fleet(model, home=tmp_path) as fleet:
            job = await fleet.post("/api/v1/optimization/jobs", ORDER | {"module_name": "planner"})
            version = (await finished_job(fleet, job["job_id"]))["result_artifact"]
            assert (await fleet.post("/api/v1/dspy/programs/packaged/adopt"))["in_force"] is True
            assert await versions_of_a_run(fleet) == {"packaged"}
            forward = await fleet.post(f"/api/v1/dspy/programs/{version}/adopt")
            assert (forward["in_force"], forward["parent"], forward["seed"]) == (True, "packaged", 0)
            assert forward["changes"] == ["planner"]
            assert await versions_of_a_run(fleet) == {version}
            listed = await fleet.get("/api/v1/dspy/programs")
            found = [(each["program_version"], each["in_force"]) for each in listed]
            assert found == [(version, True), ("packaged", False)]
            with pytest.raises(Refused) as unknown:
                await fleet.post("/api/v1/dspy/programs/stranger/adopt")
            assert unknown.value.status == 404
            assert (await fleet.http.delete("/api/v1/dspy/cache")).status_code == 204
            assert (await fleet.get("/api/v1/dspy/cache"))["exists"] is False
            assert await versions_of_a_run(fleet) == {"packaged"}


async def _the_prompts_are_what_the_model_was_sent(fleet: Fleet, model: ScriptedModel) -> None:
    prompts, signatures = await fleet.get("/api/v1/dspy/prompts"), await fleet.get("/api/v1/dspy/signatures")
    for name, field in (("planner", "mode"), ("assessor", "verdict")):
        body = next(call.body for call in reversed(model.calls) if field in _asked(call.body))
        messages = body["messages"]
        assert messages[0]["content"] == prompts[name]["system"]
        assert prompts[name]["instructions"] in prompts[name]["system"]
        shown = [message["content"] for message in messages[1:-1] if message["role"] == "user"]
        assert len(shown) == prompts[name]["demos_count"] == len(prompts[name]["demos"])
        for text, demo in zip(shown, prompts[name]["demos"], strict=True):
            assert demo["task"] in text
        assert list(_asked(body)) == signatures[name]["output_fields"]
        assert [each["name"] for each in prompts[name]["inputs"]] == signatures[name]["input_fields"]
        assert prompts[name]["in_use"] is True


def _asked(body: Body) -> dict[str, Any]:
    wanted = body.get("response_format")
    fields: dict[str, Any] = wanted["json_schema"]["schema"]["properties"] if wanted else {}
    return fields

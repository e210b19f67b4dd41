"""Traces, as a collector gets them from a whole service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import connect

from agentic_fleet import tracing
from agentic_fleet.settings import Settings
from agentic_fleet.testing import Body, Reply, ScriptedModel, answer, collect, running_fleet
from agentic_fleet.testing.fleet import APP
from tests.collector import Collector, Span, collector
from tests.team import CHECKER, NOTE, helper_team
from tests.test_people import calls_tool

SECRET = "the-word-of-the-user"
RUNS = "POST /api/v1/conversations/{conversation_id}/runs"


def environ(collected: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def trace_of(collected: Collector, run: Span) -> set[tuple[str, ...]]:
    return {collected.path(span) for span in collected.spans if span.trace == run.trace}


async def test_a_run_is_one_trace_from_its_request_to_its_tools_and_holds_no_words(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(
        helper_team("ask_user", "note", more=CHECKER + NOTE.replace("approval = true", ""))
    )
    more = {"FLEET_ROSTER": str(tmp_path / "team.toml"), "NOTES": str(tmp_path / "notes.txt")}
    caller = "0af7651916cd43dd8448eb211c80319c"
    async with collector() as collected, ScriptedModel(calls_tool("note", text=SECRET)) as model:
        async with running_fleet(model, home=tmp_path, environ=environ(collected) | more, log="json") as fleet:
            fleet.http.headers["traceparent"] = f"00-{caller}-b7ad6b7169203331-01"
            events = await collect(fleet, f"Compare {SECRET} and others, please", mode="delegated")
            assert [event.data for event in events if event.type == "tool.call" and SECRET in str(event.data)]
            await fleet.http.get("/health")
            assert await fleet.stop() == 0
            lines = [json.loads(line) for line in fleet.output.splitlines() if line.startswith("{")]
        (run,) = collected.named("run")
        top = (RUNS, "run", "workflow.run")
        agent = (*top, "executor.process execution", "invoke_agent helper")
        assert trace_of(collected, run) >= {
            (*top, "executor.process analysis", "chat scripted"),
            (*top, "executor.process routing"),
            (*agent, "chat scripted"),
            (*agent, "execute_tool note"),
            (*top, "executor.process progress", "chat scripted"),
            (*top, "executor.process quality"),
        }, "\n".join(collected.drawn())
        assert run.trace == caller
        assert run.facts["fleet.status"] == "completed"
        assert run.events == ("first token",)
        for span in collected.named("chat scripted"):
            assert span.facts["gen_ai.usage.input_tokens"] > 0, collected.path(span)
        assert not [span.name for span in collected.spans if SECRET.encode() in span.body]
        assert not [span.name for span in collected.spans if "health" in span.name or "edge_group" in span.name]
        assert collected.resource["service.name"] == "agentic-fleet"
        (started,) = [line for line in lines if line["message"].startswith("run started")]
        assert (started["trace_id"], started["run_id"]) == (caller, run.facts["fleet.run_id"])


async def test_each_run_of_a_socket_is_a_trace_of_its_own_and_a_cancelled_one_is_whole() -> None:
    held = anyio.Event()

    def reply(body: Body) -> Reply:
        return answer(body) if "response_format" in body else Reply(tokens=["a "] * 5, hold_after=(2, held))

    async with collector() as collected, ScriptedModel(reply) as model:
        async with running_fleet(model, environ=environ(collected)) as fleet:
            async with connect(f"{fleet.url.replace('http', 'ws')}/api/ws/chat", proxy=None, max_queue=None) as socket:
                for _ in range(2):
                    await socket.send(json.dumps({"type": "task", "message": "Go", "mode": "delegated"}))
                await model.wait_for(lambda: sum("response_format" not in call.body for call in model.calls) == 2)
                await model.wait_for(
                    lambda: model.open == 2 and all(call.tokens_sent == 2 for call in model.calls[-2:])
                )
                for state in await fleet.runs():
                    await fleet.cancel(state.run_id)
            await collected.wait_for(lambda: len(collected.named("run")) == 2)
            await fleet.stop()
    runs = collected.named("run")
    assert len({run.trace for run in runs}) == 2
    for run in runs:
        assert (run.parent, run.facts["fleet.status"], run.failed) == (b"", "cancelled", False)
        assert [
            path for path in trace_of(collected, run) if path[-1] == "chat scripted" and "invoke_agent" in str(path)
        ]


async def test_an_optimisation_is_a_span_below_the_request_that_starts_it() -> None:
    jobs = "/api/v1/optimization/jobs"
    async with collector() as collected, ScriptedModel(lambda body: Reply("{", hang_after=0)) as model:
        async with running_fleet(model, environ=environ(collected), log="json") as fleet:
            job = (await fleet.http.post(jobs, json={"module_name": "planner"})).json()["job_id"]
            await model.wait_for(lambda: bool(model.calls))
            await fleet.http.post(f"{jobs}/{job}/cancel")
            assert await fleet.stop() == 0
        (span,) = collected.named("optimisation")
        assert collected.path(span) == (f"POST {jobs}", "optimisation"), "\n".join(collected.drawn())
        assert span.facts == {"fleet.job_id": job, "fleet.module": "planner", "fleet.status": "cancelled"}
        assert not span.failed


async def test_a_run_that_fails_says_by_what_and_a_collector_that_is_away_harms_nobody() -> None:
    async with collector() as collected, ScriptedModel(Reply(status=401)) as model:
        async with running_fleet(model, environ=environ(collected)) as fleet:
            await collect(fleet, "Go", mode="fast")
            await collected.wait_for(lambda: collected.named("run"))
            (run,) = collected.named("run")
            assert (run.failed, run.facts["error.type"]) == (True, "ModelFailed")
    async with ScriptedModel("Fine") as model:
        away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "100"}
        async with running_fleet(model, environ=away) as fleet:
            assert (await collect(fleet, "Go", mode="fast")).text == "Fine"
            assert await fleet.stop() == 0
            assert "Traceback" not in fleet.output


OFF = """
import pathlib, sys, anyio, app
from agentic_fleet.settings import Settings

async def main():
    settings = Settings(home=pathlib.Path(sys.argv[1]), model="m", openai_base_url="http://127.0.0.1:1")
    async with app.open_parts(settings) as parts:
        assert not parts.tracing.middleware
    print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))))

anyio.run(main)
"""


def test_off_nothing_of_it_is_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OFF, str(tmp_path)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ended = subprocess.run(command, cwd=APP.parent, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.stdout.strip() == "[]", ended.stderr


async def test_without_the_extra_the_service_works_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with tracing.open_tracing(Settings(otlp_endpoint="http://127.0.0.1:4318")) as off:
        assert type(off) is tracing.Tracing
    assert "pip install -e '.[otel]'" in caplog.text

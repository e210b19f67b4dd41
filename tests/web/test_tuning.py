"""What the original's dashboard reads and sends: its shapes, its words, and clear answers to wrong ones."""

from typing import Any

import anyio
import pytest

from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.web.jobs import OptimizationBody
from agentic_fleet.workflows.endpoint import Endpoint, open_session
from agentic_fleet.workflows.language import Language
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from tests.web.site import site

JOBS = "/api/v1/optimization/jobs"
RESULT = {
    "job_id", "status", "created_at", "started_at", "completed_at", "error", "result_artifact", "message", "cache_path",
    "progress", "details", "progress_message", "progress_updated_at", "progress_percent", "progress_completed",
}  # fmt: skip
"""The names in the dashboard's OptimizationResult, but for those it wants to miss while they are unknown."""


async def test_the_dashboard_finds_the_shapes_that_it_reads() -> None:
    async with site() as it:
        config = await it.get("/api/v1/dspy/config")
        assert isinstance(config["lm_provider"], str) and isinstance(config["adapter"], str)
        assert config["program_version"] == "packaged"
        assert await it.get("/api/v1/dspy/stats") == {"history_count": 0}
        summary = await it.get("/api/v1/dspy/reasoner/summary")
        assert summary == {
            "history_count": 0,
            "routing_cache_size": 0,
            "use_typed_signatures": True,
            "modules_initialized": True,
        }
        cache = await it.get("/api/v1/dspy/cache")
        assert (cache["exists"], cache["cache_size_bytes"]) == (False, 0)
        signatures = await it.get("/api/v1/dspy/signatures")
        assert set(signatures) == {"planner", "assessor"}
        assert {"name", "type", "instructions", "input_fields", "output_fields"} <= set(signatures["planner"])
        prompts = await it.get("/api/v1/dspy/prompts")
        assert prompts["planner"]["demos_count"] == len(prompts["planner"]["demos"]) > 0
        assert set(prompts["planner"]["inputs"][0]) == {"name", "desc", "prefix"}
        assert all(isinstance(value, str) for demo in prompts["planner"]["demos"] for value in demo.values())


async def test_the_history_is_counted_and_both_caches_can_be_cleared() -> None:
    async with site() as it:
        await it.finished()
        assert (await it.get("/api/v1/dspy/stats"))["history_count"] == 1
        for path in ("/api/v1/dspy/cache", "/api/v1/dspy/reasoner/routing-cache"):
            assert (await it.http.delete(path)).status_code == 204


async def test_a_job_that_only_counts_is_told_in_the_dashboards_words() -> None:
    body = {"module_name": "DSPyReasoner", "user_id": "u", "auto_mode": "heavy", "options": {"stats_only": True}}
    async with site() as it:
        started = (await it.http.post(JOBS, json=body)).json()
        assert RESULT <= set(started)
        assert not {"progress_current", "progress_total", "progress_duration"} & set(started)
        assert started["status"] in ("pending", "running")
        job = started
        while not job["progress_completed"]:  # as a client: it asks again and again
            job = await it.get(f"{JOBS}/{started['job_id']}")
        assert (job["status"], job["details"]["outcome"]) == ("completed", "counted")
        assert job["progress_duration"] > 0
        assert job["details"]["examples"] == {"packaged": 192}
        assert [each["job_id"] for each in await it.get(JOBS)] == [started["job_id"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"module_name": "stranger"}, "module_name"),
        ({"auto_mode": "extreme"}, "auto_mode"),
        ({"history_min_quality": 11}, "history_min_quality"),
        ({"history_limit": 0}, "history_limit"),
        ({"surprise": 1}, "surprise"),
        ({"options": {"optimizer": "magic"}}, "options.optimizer"),
        ({"options": {"seed": "one"}}, "options.seed"),
        ({"options": {"max_iterations": 0}}, "options.max_iterations"),
        ({"options": {"min_quality": True}}, "options.min_quality"),
        ({"options": {"max_examples": None, "stats_only": "true"}}, "options.stats_only"),
        ({"options": {"max_examples": 0}}, "options.max_examples"),
    ],
)
async def test_a_wrong_order_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    async with site() as it:
        answer = await it.http.post(JOBS, json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field
        assert await it.get(JOBS) == []


def test_the_page_for_self_improvement_bounds_the_examples_in_words_of_its_own() -> None:
    options = {"min_quality": 7.5, "max_examples": 20, "stats_only": False, "is_self_improvement": True}
    order = OptimizationBody(module_name="DSPyReasoner", options=options).order()
    assert (order.history, order.min_quality, order.limit, order.only_count) == (True, 7.5, 20, False)


async def test_what_there_is_not_is_not_found() -> None:
    async with site() as it:
        for method, path in (("GET", f"{JOBS}/x"), ("POST", f"{JOBS}/x/cancel")):
            assert (await it.http.request(method, path)).status_code == 404
        assert (await it.http.post("/api/v1/dspy/programs/..%2f..%2fetc/adopt")).status_code == 404
        assert (await it.http.post("/api/v1/dspy/programs/none/adopt")).status_code == 404


async def test_an_intent_and_entities_in_the_clients_words() -> None:
    async with site() as it:
        body = {"text": "Hello there", "possible_intents": ["greeting", "order"]}
        answer = (await it.http.post("/api/v1/classify_intent", json=body)).json()
        assert (answer["intent"], set(answer)) == ("greeting", {"intent", "confidence", "reasoning"})
        assert 0 <= answer["confidence"] <= 1
        body = {"text": "Due on 2024-05-01.", "entity_types": ["Date", "Date"]}
        answer = (await it.http.post("/api/v1/extract_entities", json=body)).json()
        assert [(each["text"], each["type"]) for each in answer["entities"]] == [("2024-05-01", "Date")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("classify_intent", {"text": "", "possible_intents": ["a"]}),
        ("classify_intent", {"text": " \n", "possible_intents": ["a"]}),
        ("classify_intent", {"text": "x" * 10_001, "possible_intents": ["a"]}),
        ("classify_intent", {"text": "x", "possible_intents": []}),
        ("classify_intent", {"text": "x", "possible_intents": ["a"] * 51}),
        ("classify_intent", {"text": "x", "possible_intents": [" "]}),
        ("extract_entities", {"text": "x", "entity_types": ["y" * 101]}),
        ("extract_entities", {"text": "x", "entity_types": "Date"}),
        ("extract_entities", {"text": "x"}),
    ],
)
async def test_bounds_on_texts_and_labels(path: str, body: dict[str, Any]) -> None:
    async with site() as it:
        assert (await it.http.post(f"/api/v1/{path}", json=body)).status_code == 422


async def test_the_work_ends_when_the_client_leaves() -> None:
    configure_dspy()
    body = {"text": "Hello there", "possible_intents": ["greeting", "order"]}
    async with ScriptedModel(lambda body: Reply(hang_after=0)) as model, open_session() as session:
        url = f"{model.base_url}/chat/completions"
        endpoint = Endpoint(session, url=url, headers={}, model="m", name="m", timeout=30)
        async with site(language=Language(build_lm(endpoint), timeout=30)) as it:
            with anyio.move_on_after(10) as leaving:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda: it.http.post("/api/v1/classify_intent", json=body))
                    await model.wait_for(lambda: model.open == 1)
                    tasks.cancel_scope.cancel()
            assert not leaving.cancelled_caught
            await model.settled()
            assert model.hangups == 1

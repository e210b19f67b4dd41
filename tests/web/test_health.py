"""/health says what is wrong, in words; /ready whether new runs are taken."""

import shutil
from typing import NamedTuple

import anyio
import pytest

from agentic_fleet.about import Check
from agentic_fleet.errors import StoreFailed
from agentic_fleet.testing import Reply, ScriptedModel, collect, running_fleet
from tests.script import Paced
from tests.web.site import site


async def test_a_tool_that_does_not_work_is_shown_by_health_and_is_no_failure_of_the_service() -> None:
    async with site() as it:
        health = await it.get("/health")
        assert health["status"] == "ok"
        assert health["tools"]["look"] == {"status": "failed", "detail": "Set LOOK_KEY."}


@pytest.mark.parametrize(("model", "health", "ready"), [("ok", 200, 200), ("starting", 200, 503), ("failed", 503, 200)])
async def test_health_and_readiness_follow_the_model(model: str, health: int, ready: int) -> None:
    async with site(check=lambda: Check(status=model, detail="So it is.")) as it:  # type: ignore[arg-type]  # a literal
        answer = await it.http.get("/health")
        assert answer.status_code == health
        assert answer.json()["checks"]["model"] == {"status": model, "detail": "So it is."}
        assert set(answer.json()["checks"]) == {"store", "model", "runs"}
        assert (await it.http.get("/ready")).status_code == ready


async def test_a_failing_store_makes_the_service_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object) -> None:
        raise StoreFailed("The disk is full.")

    async with site() as it:
        monkeypatch.setattr(it.store, "ping", fail)
        monkeypatch.setattr(it.store, "add_conversation", fail)
        answer = await it.http.get("/health")
        assert (answer.status_code, answer.json()["checks"]["store"]["status"]) == (503, "failed")
        refused = await it.http.post("/api/v1/conversations")
        assert (refused.status_code, refused.json()["title"]) == (503, "Store failed")


async def test_a_store_that_does_not_answer_makes_the_service_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as it:
        monkeypatch.setattr(it.store, "ping", anyio.sleep_forever)
        monkeypatch.setattr("agentic_fleet.web.health.PING", 0.01)
        answer = await it.http.get("/health")
        assert (answer.status_code, answer.json()["checks"]["store"]["status"]) == (503, "failed")


async def test_a_draining_service_is_healthy_but_not_ready_and_starts_nothing() -> None:
    async with site() as it:
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        it.runs.draining = True
        assert (await it.http.get("/health")).status_code == 200
        refused = await it.http.get("/ready")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        path = f"/api/v1/conversations/{conversation}/runs"
        assert (await it.http.post(path, json={"message": "hello"})).json()["title"] == "Shutting down"
        assert "new runs are refused" in (await it.get("/health"))["checks"]["runs"]["detail"]


async def test_a_full_service_says_so_and_which_setting_it_is() -> None:
    async with site(Paced(), max_runs=1) as it:
        await it.start(mode="fast")
        detail = (await it.get("/health"))["checks"]["runs"]["detail"]
        assert detail == "1 of 1 live: new ones are refused until one ends (FLEET_MAX_RUNS)"


class Usage(NamedTuple):
    free: int


async def test_a_disk_that_is_almost_full_is_told_before_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as it:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=80_123_456))
        store = (await it.get("/health"))["checks"]["store"]
        assert store["status"] == "warning"
        assert "Only 80 MB are free on the disk of FLEET_HOME" in store["detail"]


async def test_a_model_that_refuses_its_key_is_told_with_the_settings_to_look_at_until_it_answers() -> None:
    async with ScriptedModel(Reply(status=401)) as model, running_fleet(model) as fleet:
        assert "is asked when a run needs it" in (await fleet.get("/health"))["checks"]["model"]["detail"]
        await collect(fleet, "Go", mode="fast")
        health = await fleet.get("/health")
        assert health["status"] == "ok", "the next run may find it well"
        assert health["checks"]["model"] == {
            "status": "warning",
            "detail": "scripted at 127.0.0.1 did not answer the last request: The model endpoint refused the key (401)."
            " Check OPENAI_BASE_URL, OPENAI_API_KEY and FLEET_MODEL.",
        }
        model.reply = lambda body: Reply(status=429, headers={"Retry-After": "60"})
        await collect(fleet, "Go", mode="fast")
        busy = (await fleet.get("/health"))["checks"]["model"]["detail"]
        assert busy.endswith("The model endpoint is overloaded (429)."), "no setting helps"
        model.reply = lambda body: Reply("Fine")
        await collect(fleet, "Go", mode="fast")
        assert (await fleet.get("/health"))["checks"]["model"][
            "detail"
        ] == "scripted at 127.0.0.1 answered the last request"

"""`/metrics`, read with Prometheus' own parsers."""

from typing import Any

import anyio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agentic_fleet.errors import ModelFailed
from agentic_fleet.metrics import open_metrics
from agentic_fleet.testing import ScriptedModel, collect, running_fleet
from agentic_fleet.turns import Emit, Result, Turn
from tests.script import Paced, echo, token
from tests.web.site import Site, site

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, ...], float]:
    """Value by name and label values, without buckets."""
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


async def measured(it: Site) -> dict[tuple[str, ...], float]:
    answer = await it.http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


async def test_runs_are_counted_by_mode_and_ending() -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        if turn.ask.message == "fail":
            raise ModelFailed("It broke.")
        if turn.ask.message == "stumble":
            raise ZeroDivisionError
        return await echo(turn, emit)

    async with site(act) as it:
        for message in ("one two", "three", "fail", "stumble"):
            await it.finished(message)
        found = await measured(it)
        assert found["fleet_runs_total", "auto", "completed"] == 2
        assert found["fleet_runs_total", "auto", "failed"] == 2
        assert found["fleet_run_errors_total", "ModelFailed"] == found["fleet_run_errors_total", "Unexpected"] == 1
        assert found["fleet_run_duration_seconds_count", "auto", "completed"] == 2
        assert found["fleet_time_to_first_token_seconds_count", "auto"] == 2


async def test_what_is_open_now_and_what_was_cancelled() -> None:
    paced = Paced()
    async with site(paced) as it:
        run = await it.start(mode="fast")
        assert ("fleet_runs_total", "fast", "cancelled") not in await measured(it)
        async with it.stream(f"/api/v1/runs/{run['run_id']}/events"):
            found = await measured(it)
            assert (found[("fleet_runs_live",)], found[("fleet_streams_open",)]) == (1, 1)
        await it.http.post(f"/api/v1/runs/{run['run_id']}/cancel")
        found = await measured(it)
        assert found["fleet_runs_total", "fast", "cancelled"] == 1
        assert found[("fleet_runs_live",)] == 0


async def test_requests_are_counted_by_route_and_never_by_what_a_client_made_up() -> None:
    async with site() as it:
        for path in ("/api/v1/runs/a", "/api/v1/runs/b", "/nothing", "/else/where"):
            await it.http.get(path)
        await it.http.request("BREW", "/api/v1/runs")
        found = await measured(it)
        assert found["fleet_http_requests_total", "GET", "/api/v1/runs/{run_id}", "404"] == 2
        assert found["fleet_http_requests_total", "GET", "other", "404"] == 2
        assert not [key for key in found if any("BREW" in part or "nothing" in part for part in key)]


async def test_the_newer_form_is_spoken_too() -> None:
    async with site() as it:
        answer = await it.http.get("/metrics", headers={"Accept": OPENMETRICS})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert samples(answer.text, parse_openmetrics)[("fleet_runs_live",)] == 0


async def test_a_whole_service_counts_tokens_and_writes_and_watches_its_loop() -> None:
    async with ScriptedModel("It is so.") as model, running_fleet(model) as fleet:
        await collect(fleet, "Is it so?", mode="delegated")
        found = samples((await fleet.http.get("/metrics")).text)
        assert found["fleet_tokens_total", "in", "scripted"] > 0 < found["fleet_tokens_total", "out", "scripted"]
        assert found[("fleet_store_write_seconds_count",)] > 3
        assert found["fleet_runs_total", "delegated", "completed"] == 1
        with anyio.fail_after(10):
            while not found[("fleet_loop_lag_seconds_count",)]:  # the loop is looked at twice a second
                found = samples((await fleet.http.get("/metrics")).text)


async def test_two_services_in_one_process_do_not_add_up() -> None:
    async with open_metrics() as first, open_metrics() as second:
        first.answered("GET", "/", 200)
        assert 'route="/"' in first.render("")[0].decode()
        assert 'route="/"' not in second.render("")[0].decode()


async def test_tokens_are_counted_once_and_only_where_they_name_their_model() -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        await emit(token("a"))
        return await echo(turn, emit)

    async with site(act) as it:
        await it.finished()
        assert not [key for key in await measured(it) if key[0] == "fleet_tokens_total"]

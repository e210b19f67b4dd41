"""The request id and the gate."""

import logging

import pytest

from agentic_fleet import context
from agentic_fleet.turns import Result, Turn
from tests.faults.table import row
from tests.script import answer
from tests.web.site import site


async def test_a_sane_request_id_is_kept_and_another_replaced() -> None:
    async with site() as it:
        kept = await it.http.get("/health", headers={"X-Request-ID": "Abc-1.2_3"})
        assert kept.headers["x-request-id"] == "Abc-1.2_3"
        for bad in ("", "a b", "x" * 129, "a/b"):
            made = (await it.http.get("/health", headers={"X-Request-ID": bad})).headers["x-request-id"]
            assert made and made != bad
        missing = await it.http.get("/nothing", headers={"X-Request-ID": "abc"})
        assert missing.json()["request_id"] == missing.headers["x-request-id"] == "abc"


@row(70)
async def test_a_run_knows_the_request_that_started_it() -> None:
    seen: list[str | None] = []

    async def act(turn: Turn, emit: object) -> Result:
        seen.append(context.request_id.get())
        return answer("")

    async with site(act) as it:
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        path = f"/api/v1/conversations/{conversation}/runs"
        await it.http.post(path, json={"message": "hi"}, headers={"X-Request-ID": "who"})
        await it.runs.idle()
    assert seen == ["who"]


@row(72)
async def test_what_nobody_expected_is_logged_once_and_answered_without_details(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**page: int) -> None:
        raise ZeroDivisionError("the secret of the house")

    async with site() as it:
        monkeypatch.setattr(it.store, "conversations", fail)
        broken = await it.http.get("/api/v1/conversations", headers={"X-Request-ID": "abc"})
    assert broken.status_code == 500
    assert broken.json()["request_id"] == broken.headers["x-request-id"] == "abc"
    assert "secret" not in broken.text
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [logging.ERROR]
    assert caplog.records[-1].exc_info


async def test_pages_of_other_origins_may_read_but_not_change() -> None:
    async with site(allowed_origins=("https://friend.example",)) as it:
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("", 403),
            (it.url.replace("127.0.0.1", "localhost"), 403),
            (it.url, 201),
            ("https://friend.example", 201),
        ):
            made = await it.http.post("/api/v1/conversations", headers={"Origin": origin})
            assert made.status_code == status, origin
            assert (await it.http.get("/health", headers={"Origin": origin})).status_code == 200
        nameless = await it.http.post("/api/v1/conversations", headers={"Origin": "null", "Host": ""})
        assert nameless.status_code == 400
        refused = await it.http.delete("/api/v1/conversations/a", headers={"Origin": "https://evil.example"})
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["request_id"] == refused.headers["x-request-id"]

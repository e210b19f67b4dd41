"""Names of the service, and pages of other sites."""

import pytest

from tests.faults.table import row
from tests.script import Paced
from tests.web.site import site

FRIEND = "https://friend.example"
ASK = "/api/chat/demo/stream?message=hello"


@row(57)
async def test_a_service_without_keys_answers_only_to_names_of_its_machine() -> None:
    async with site() as it:
        for host in ("localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST:1"):
            assert (await it.http.get("/health", headers={"Host": host})).status_code == 200, host
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "localhost@evil.example"):
            refused = await it.http.get("/health", headers={"Host": host})
            assert refused.status_code == 400, host
            assert "evil" not in refused.text


async def test_the_names_can_be_listed_and_are_free_when_keys_guard() -> None:
    async with site(allowed_hosts=("fleet.example",)) as it:
        assert (await it.http.get("/health", headers={"Host": "fleet.example:443"})).status_code == 200
        assert (await it.http.get("/health", headers={"Host": "localhost"})).status_code == 400
    async with site(api_keys=("alice:alice-0123456789",)) as it:
        assert (await it.http.get("/health", headers={"Host": "any.example"})).status_code == 200


@row(57)
async def test_no_link_is_made_from_the_name_in_the_request() -> None:
    async with site(insecure=True) as it:
        forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}
        made = await it.http.post("/api/v1/conversations", headers=forged)
        started = await it.http.post(
            f"/api/v1/conversations/{made.json()['id']}/runs", json={"message": "hi"}, headers=forged
        )
        index = await it.http.get("/", headers={**forged, "Accept": "application/json"})
        page = await it.http.get("/", headers=forged)
        assert started.headers["location"].startswith("/api/v1/runs/")
        for answer in (made, started, index, page):
            assert "evil" not in answer.text + str(answer.headers)


@row(58)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_pages_of_a_listed_origin_may_ask_before_they_send(method: str) -> None:
    async with site(allowed_origins=(FRIEND,), api_keys=("alice:alice-0123456789",)) as it:
        question = {"Origin": FRIEND, "Access-Control-Request-Method": method}
        wanted = "authorization,content-type,last-event-id,idempotency-key"
        answer = await it.http.options("/api/v1/runs", headers={**question, "Access-Control-Request-Headers": wanted})
        assert answer.status_code == 200, "a preflight carries no key"
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert method in answer.headers["access-control-allow-methods"]
        assert "access-control-allow-credentials" not in answer.headers
        refused = await it.http.options("/api/v1/runs", headers={**question, "Origin": "https://evil.example"})
        assert refused.status_code == 400 and "access-control-allow-origin" not in refused.headers


@row(58)
async def test_only_pages_of_listed_origins_may_read_answers_and_refusals() -> None:
    async with site(allowed_origins=(FRIEND,)) as it:
        for path in ("/api/v1/runs", "/nothing", ASK):
            async with it.http.stream("GET", path, headers={"Origin": FRIEND}) as answer:
                assert answer.headers["access-control-allow-origin"] == FRIEND
                assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
                assert "Origin" in answer.headers["vary"]
        foreign = await it.http.get("/api/v1/runs", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers
    async with site() as it:
        answer = await it.http.get("/api/v1/runs", headers={"Origin": FRIEND})
        assert "access-control-allow-origin" not in answer.headers


async def test_another_sites_page_cannot_ask_by_showing_a_picture() -> None:
    """A GET that starts a run needs a guard that other GETs do not."""
    paced = Paced()
    async with site(paced, allowed_origins=(FRIEND,)) as it:
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "null"},
        ):
            assert (await it.http.get(ASK, headers=headers)).status_code == 403, headers
        assert it.script.turns == []
        paced.finish()
        for headers in (
            {"Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},  # typed by the user
            {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"},
            {"Origin": it.url, "Sec-Fetch-Site": "same-origin"},
        ):
            events = await it.read(ASK, headers)
            assert events[-1]["type"] == "done", headers

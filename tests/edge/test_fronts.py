"""The service as its clients see it: directly, behind nginx and behind Caddy, at the root and under a path."""

from contextlib import AsyncExitStack

import anyio
import httpx
import pytest

from tests.edge.fronts import FRONTS, TLS, fronted, seen_at, trusting
from tests.edge.tab import tab
from tests.faults.table import row
from tests.script import Paced
from tests.web.peer import chat
from tests.web.site import seqs, types

fronts = pytest.mark.parametrize(("kind", "root"), FRONTS, ids=lambda part: part or "root")
BIG = "x" * 3000  # over the sizes from which proxies begin to buffer and to compress


@row(62)
@fronts
async def test_each_event_arrives_before_the_next_is_made(kind: str, root: str) -> None:
    script = Paced()
    async with fronted(kind, root, script) as it:
        run = await it.start()
        path, zipped = f"/api/v1/runs/{run['run_id']}/events", {"Accept-Encoding": "gzip"}
        async with it.stream(path, zipped) as early, it.stream(path + "?fields=lean", zipped) as lean:
            assert early.response.headers["content-type"].startswith("text/event-stream")
            for token in ("a", "b", BIG, "c", BIG + "d", "e"):
                script.step(token)
                assert (await early.until(token))[-1]["delta"] == (await lean.until(token))[-1]["delta"]
            script.finish()
            assert types(await early.rest()) == types(await lean.rest()) == ["response.completed", "done"]


@fronts
async def test_a_question_that_is_answered_by_its_stream_streams(kind: str, root: str) -> None:
    script = Paced()
    async with fronted(kind, root, script) as it:
        async with it.stream("/api/chat/c1/stream?message=hello") as reader:
            for token in ("a", BIG, "b"):
                script.step(token)
                await reader.until(token)
            script.finish()
            assert types(await reader.rest())[-1] == "done"
    assert len(it.script.turns) == 1


@row(64)
@fronts
async def test_a_reader_resumes_exactly_and_a_finished_run_stops_it(kind: str, root: str) -> None:
    script = Paced()
    async with fronted(kind, root, script) as it:
        run = await it.start()
        path = f"/api/v1/runs/{run['run_id']}/events"
        script.step("a", "b")
        async with it.stream(path) as reader:
            seen = await reader.until("a")
        script.step("c")
        script.finish()
        seen += await it.read(path, {"Last-Event-ID": seen[-1]["id"]})
        assert seqs(seen) == list(range(1, 7))
        over = await it.http.get(path, headers={"Last-Event-ID": seen[-1]["id"]})
        assert (over.status_code, over.content) == (204, b"")


@row(64)
@fronts
async def test_a_socket_asks_watches_and_cancels(kind: str, root: str) -> None:
    script = Paced()
    secure = {"ssl": trusting()} if kind in TLS else {}
    async with fronted(kind, root, script) as it, chat(it, **secure) as peer:
        await peer.say({"type": "task", "message": "hello"})
        assert (await peer.hear())["type"] == "connected"
        for token in ("a", BIG, "b"):
            script.step(token)
            assert (await peer.hear())["delta"] == token
        await peer.say({"type": "cancel"})
        assert types(await peer.until_done()) == ["cancelled", "done"]


@pytest.mark.parametrize("kind", TLS)
async def test_over_tls_a_browser_has_all_its_streams_on_one_connection(kind: str) -> None:
    """Over HTTP/1.1 it would have six."""
    script = Paced()
    one = httpx.Limits(max_connections=1)
    async with fronted(kind, "", script) as it, seen_at(it, it.url, limits=one) as tab, AsyncExitStack() as streams:
        run = await tab.start()
        path = f"/api/v1/runs/{run['run_id']}/events"
        readers = [await streams.enter_async_context(tab.stream(path)) for _ in range(30)]
        assert {reader.response.http_version for reader in readers} == {"HTTP/2"}
        for token in ("a", BIG):
            script.step(token)
            for reader in readers:
                await reader.until(token)
        cancelled = await tab.http.post(f"/api/v1/runs/{run['run_id']}/cancel")
        assert cancelled.json()["status"] == "cancelled"
        for reader in readers:
            assert types(await reader.rest()) == ["cancelled", "done"]


@pytest.mark.parametrize("kind", TLS)
async def test_over_tls_a_stream_that_is_closed_is_noticed_though_its_connection_stays(kind: str) -> None:
    script = Paced()
    async with fronted(kind, "", script, disconnect_grace=0) as it, tab(it.url) as browser:
        with anyio.fail_after(10):
            mine = await browser.open("/api/chat/c1/stream?message=hello&on_disconnect=cancel")
            script.step("a")
            await browser.until(mine, b'"a"')
            await browser.close(mine)
            await script.left.wait()
            await it.runs.idle()
            page = await browser.open("/health")
            assert b'"status"' in await browser.until(page, b"}")


@pytest.mark.parametrize("kind", TLS)
async def test_over_tls_a_page_of_ours_may_post_and_another_may_not(kind: str) -> None:
    async with fronted(kind) as it:
        for origin, status in ((it.url, 201), ("https://evil.example", 403)):
            assert (await it.http.post("/api/v1/conversations", headers={"Origin": origin})).status_code == status


@fronts
async def test_a_run_is_cancelled_and_its_stream_says_so(kind: str, root: str) -> None:
    script = Paced()
    async with fronted(kind, root, script) as it:
        run = await it.start()
        async with it.stream(f"/api/v1/runs/{run['run_id']}/events") as reader:
            script.step("a")
            await reader.until("a")
            ended = await it.http.post(f"/api/v1/runs/{run['run_id']}/cancel")
            assert ended.json()["status"] == "cancelled"
            assert types(await reader.rest()) == ["cancelled", "done"]


@fronts
async def test_the_service_learns_that_its_reader_has_left(kind: str, root: str) -> None:
    script = Paced()
    async with fronted(kind, root, script, disconnect_grace=0) as it:
        async with (
            seen_at(it, it.url) as alone,
            alone.stream("/api/chat/c1/stream?message=hello&on_disconnect=cancel") as reader,
        ):
            script.step("a")
            run_id = (await reader.until("a"))[-1]["workflow_id"]
        await script.left.wait()
        await it.runs.idle()
        assert (await it.get(f"/api/v1/runs/{run_id}"))["status"] == "cancelled"


@row(64)
@fronts
async def test_links_lead_back_through_the_front(kind: str, root: str) -> None:
    async with fronted(kind, root) as it:
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        started = await it.http.post(f"/api/v1/conversations/{conversation}/runs", json={"message": "hi"})
        index = await it.http.get("/", headers={"Accept": "application/json"})
        for link in (started.headers["location"], *index.json()["links"]):
            assert link.startswith(root + "/")
            found = await it.http.get(httpx.URL(it.url).copy_with(path=link))
            assert found.status_code in (200, 426), link


@fronts
async def test_a_neighbour_of_the_path_is_not_the_service(kind: str, root: str) -> None:
    async with fronted(kind, root) as it:
        for path in ("/fleetX/health", "/fleetX", "/elsewhere"):
            answer = await it.http.get(httpx.URL(it.url).copy_with(path=path))
            assert answer.status_code == 404, path

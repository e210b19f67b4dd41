"""What the shipped configurations of nginx and Caddy promise: addresses, limits, compression, quiet runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from agentic_fleet.settings import Settings
from tests.edge.fronts import PROXIES, fronted, proxy, seen_at
from tests.faults.table import row
from tests.script import Paced
from tests.web.peer import chat
from tests.web.site import types
from tests.web.test_proxied import PROXY, WHO, who

proxies = pytest.mark.parametrize("kind", PROXIES)

ELSEWHERE = "127.0.0.2"  # a client that is not the proxy's own address


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[SocketStream]:
    parts = urlsplit(url)
    async with await anyio.connect_tcp(parts.hostname or "", parts.port or 0) as stream:
        yield stream


async def told(url: str, *sent: bytes) -> int | None:
    """The status that these bytes get; None when the connection was broken before all were taken."""
    answer = b""
    async with connected(url) as stream:
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            for part in sent:
                await stream.send(part)
            answer = await stream.receive()
    return int(answer.split(b" ")[1]) if answer else None


LEAST = 1024  # bytes from which the proxies compress


@row(56)
@proxies
async def test_a_forged_address_is_not_believed_and_the_real_one_is(kind: str) -> None:
    async with fronted(kind, more=WHO) as it:
        async with seen_at(it, it.url, transport=httpx.AsyncHTTPTransport(local_address=ELSEWHERE)) as client:
            assert await who(client, PROXY, ELSEWHERE) == [f"http {ELSEWHERE}", f"ws {ELSEWHERE}"]


@row(56)
async def test_through_two_proxies_the_last_address_that_is_not_theirs_counts() -> None:
    async with fronted("nginx", more=WHO) as it, proxy("nginx", it.url) as outer:
        transport = httpx.AsyncHTTPTransport(local_address=ELSEWHERE)
        # The inner one would take the outer one's name for a wrong one: a chain passes on the name that was asked for.
        headers = PROXY | {"Host": "localhost"}
        async with seen_at(it, outer, transport=transport) as client:
            assert (await client.http.get("/who", headers=headers)).json() == f"http {ELSEWHERE}"


@row(57)
@proxies
@pytest.mark.parametrize("path", ["/", "/health", "/api/ws/chat", "/nothing/"])
async def test_a_name_that_is_not_ours_is_refused(kind: str, path: str) -> None:
    async with fronted(kind) as it:
        for name in ("evil.example", "evil.example:80"):
            answer = await it.http.get(path, headers={"Host": name})
            assert answer.status_code == 421
            assert "evil" not in answer.text + str(answer.headers)


@proxies
async def test_a_page_of_ours_may_post_through_the_proxy_and_another_may_not(kind: str) -> None:
    async with fronted(kind) as it:
        for origin, status in ((it.url, 201), ("http://evil.example", 403), (it.url.rpartition(":")[0], 403)):
            assert (await it.http.post("/api/v1/conversations", headers={"Origin": origin})).status_code == status


@proxies
async def test_json_is_compressed(kind: str) -> None:
    async with fronted(kind) as it:
        run = await it.finished("a " * LEAST)
        page = await it.http.get(f"/api/v1/runs/{run['run_id']}/events", headers={"Accept": "application/json"})
        assert page.headers["content-encoding"] == "gzip"
        assert page.json()["events"]


@proxies
async def test_bodies_up_to_the_services_own_limit_pass(kind: str) -> None:
    limit = Settings().max_body
    async with fronted(kind) as it:
        for size, status in ((limit, 422), (limit + 1, 413)):
            body = b'{"title":"' + b"x" * (size - 12) + b'"}'
            answer = await it.http.post(
                "/api/v1/conversations", content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == status, size
        head = b"POST /api/v1/conversations HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (50 * limit)
        assert await told(it.url, head, b"x" * 50 * limit) in (413, None)


@proxies
async def test_the_longest_question_fits_into_the_url(kind: str) -> None:
    async with fronted(kind) as it:
        question = "ö, " * 3333
        events = await it.read(f"/api/chat/c1/stream?message={question}&mode=fast")
        assert types(events)[-1] == "done"
        assert it.script.turns[0].ask.message == question


HUGE = [b"X-Big: " + b"x" * 20_000_000, b"".join(b"X-%d: x\r\n" % n for n in range(50_000))]


@row(60)
@proxies
@pytest.mark.parametrize("headers", HUGE, ids=["one of 20 MB", "50,000 of them"])
async def test_huge_headers_are_refused(kind: str, headers: bytes) -> None:
    async with fronted(kind) as it:
        assert await told(it.url, b"GET /who HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n") in (
            400,
            431,
            None,
        )
        assert (await it.http.get("/health")).status_code == 200


HASTE = {
    "nginx": {"header_timeout 10s": "header_timeout 1s", "body_timeout 10s": "body_timeout 1s"},
    "caddy": {"read_header 10s": "read_header 1s"},
}


HEAD = b"POST /api/v1/conversations HTTP/1.1\r\nHost: localhost\r\n"
UNFINISHED = {
    "head": HEAD + b"X-Slow: ",
    "body": HEAD + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
}


@row(59)
@pytest.mark.parametrize(("kind", "part"), [("nginx", "head"), ("nginx", "body"), ("caddy", "head")])
async def test_requests_that_are_never_finished_are_not_waited_for(kind: str, part: str) -> None:
    """Caddy passes bodies on as they come; the service itself does not wait for them (tests/test_connection.py)."""
    async with fronted(kind, changes=HASTE[kind]) as it:
        got: list[int | None] = []

        async def hold() -> None:
            got.append(await told(it.url, UNFINISHED[part]))

        async with anyio.create_task_group() as tasks:
            for _ in range(90):
                tasks.start_soon(hold)
            assert (await it.http.get("/health")).status_code == 200
        assert set(got) <= {408, None}
        assert await it.get("/api/v1/conversations") == []


async def test_one_address_has_only_so_many_streams_behind_nginx() -> None:
    async with fronted("nginx", act=Paced(), changes={"limit_conn clients 100;": "limit_conn clients 2;"}) as it:
        path = f"/api/v1/runs/{(await it.start())['run_id']}/events"
        async with it.stream(path) as one, it.stream(path) as other:
            await one.next()
            await other.next()
            assert (await it.http.get(path)).status_code == 429


# A quiet run, with the times of a deployment divided by 75: heartbeats every 0.2 s instead of 15.
HEARTBEAT = 0.2
SHORTER = {
    "nginx": {"proxy_read_timeout 75s;": "proxy_read_timeout 1s;"},
    "caddy": {"read_timeout 660s": "read_timeout 1s"},
}


@row(63)
@proxies
async def test_a_quiet_run_stays_open_as_long_as_its_heart_beats(kind: str) -> None:
    script = Paced()
    async with fronted(kind, act=script, changes=SHORTER[kind], heartbeat=HEARTBEAT) as it:
        run = await it.start()
        async with it.stream(f"/api/v1/runs/{run['run_id']}/events") as reader, chat(it) as peer:
            await peer.say({"type": "watch", "run_id": run["run_id"]})
            assert (await reader.next())["type"] == (await peer.hear())["type"] == "connected"
            for _ in range(15):  # three times the proxy's patience
                assert '"type":"heartbeat"' in (await anext(reader.frames)).data
                assert '"type":"heartbeat"' in str(await peer.socket.recv())
            script.step("a")
            assert (await reader.next())["delta"] == (await peer.hear())["delta"] == "a"


@row(63)
@proxies
async def test_without_heartbeats_the_proxy_would_cut_it(kind: str) -> None:
    """Or the test above could not fail."""
    async with fronted(kind, act=Paced(), changes=SHORTER[kind], heartbeat=60) as it:
        run = await it.start()
        async with it.stream(f"/api/v1/runs/{run['run_id']}/events") as reader:
            await reader.next()
            with pytest.raises((httpx.RemoteProtocolError, StopAsyncIteration)):
                await reader.next()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def dropping() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers requests for /good, and reads others and hangs up; with what it was asked."""
    asked: list[bytes] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                asked.append(await stream.receive())
                while b" /good " in asked[-1]:
                    await stream.send(OK)
                    asked.append(await stream.receive())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}", asked
        tasks.cancel_scope.cancel("the test is over")


@row(41)
@proxies
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_request_that_was_dropped_is_not_sent_again(kind: str, method: str) -> None:
    async with dropping() as (upstream, asked):
        one = f"server {urlsplit(upstream).netloc};"
        twice = {"server 127.0.0.1:8000;": one + one} if kind == "nginx" else {}  # so that there is another to try
        async with proxy(kind, upstream, changes=twice) as url, httpx.AsyncClient() as http:
            with anyio.fail_after(10):
                assert (await http.get(url + "/good")).status_code == 200
                assert (await http.request(method, url + "/api/v1/runs")).status_code == 502
        assert len(asked) == 2

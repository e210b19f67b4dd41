"""What a proxy in front says, and the path it serves us under."""

from typing import Any

import pytest
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from tests.faults.table import row
from tests.web.peer import Chat
from tests.web.site import Site, site, types

PROXY = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "X-Forwarded-Proto": "https"}


def seen(connection: HTTPConnection) -> str:
    client = connection.client
    return f"{connection.scope['scheme']} {client.host if client else None}"


async def tell(request: Request) -> JSONResponse:
    return JSONResponse(seen(request))


async def tell_socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(seen(socket))
    await socket.close()


WHO = [Route("/who", tell), WebSocketRoute("/who", tell_socket)]


async def who(it: Site, headers: dict[str, str], address: str = "127.0.0.1") -> list[str]:
    """As HTTP and as WebSocket handlers see it. `address` is the socket's own."""
    answer = (await it.http.get("/who", headers=headers)).json()
    url = it.url.replace("http", "ws") + "/who"
    more: dict[str, Any] = {"additional_headers": headers, "local_addr": (address, 0)}
    async with connect(url, proxy=None, compression=None, **more) as socket:
        return [answer, str(await socket.recv())]


async def test_a_trusted_proxy_says_who_asks_and_how() -> None:
    async with site(more=WHO, trusted_proxies=("127.0.0.0/8",)) as it:
        assert await who(it, PROXY) == ["https 203.0.113.9", "wss 203.0.113.9"]
        assert await who(it, {}) == ["http 127.0.0.1", "ws 127.0.0.1"]
        assert await who(it, {"X-Forwarded-Proto": "HTTP, https"}) == ["https 127.0.0.1", "wss 127.0.0.1"]
        assert await who(it, {"X-Forwarded-Proto": "gopher"}) == ["http 127.0.0.1", "ws 127.0.0.1"]


@row(56)
@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8",)])
async def test_anybody_elses_forwarded_headers_are_ignored(trusted: tuple[str, ...]) -> None:
    async with site(more=WHO, trusted_proxies=trusted) as it:
        assert await who(it, PROXY) == ["http 127.0.0.1", "ws 127.0.0.1"]


async def test_headers_given_twice_are_one_list() -> None:
    async with site(more=WHO, trusted_proxies=("127.0.0.1", "10.0.0.1")) as it:
        twice = [("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.9, 10.0.0.1")]
        assert (await it.http.get("/who", headers=twice)).json() == "http 203.0.113.9"


@row(64)
@pytest.mark.parametrize("asked", ["/fleet", ""])
async def test_with_a_root_path_everything_works_with_and_without_it(asked: str) -> None:
    async with site(root_path="/fleet") as it:
        assert (await it.http.get(asked + "/health")).status_code == 200
        made = await it.http.post(asked + "/api/v1/conversations")
        runs = f"/api/v1/conversations/{made.json()['id']}/runs"
        started = await it.http.post(asked + runs, json={"message": "one two"})
        location = started.headers["location"]
        assert location == f"/fleet/api/v1/runs/{started.json()['run_id']}"
        assert (await it.http.get(location)).status_code == 200
        assert types(await it.read(asked + location.removeprefix("/fleet") + "/events"))[-1] == "done"
        url = it.url.replace("http", "ws") + asked + "/api/ws/chat"
        async with connect(url, proxy=None, compression=None) as socket:
            await Chat(socket).say({"type": "ping"})
            assert await Chat(socket).hear() == {"type": "pong"}


async def test_links_carry_the_root_path_and_lead_somewhere() -> None:
    async with site(root_path="/a/fleet") as it:
        for index in ("/a/fleet", "/a/fleet/", "/"):
            answer = await it.http.get(index, headers={"Accept": "application/json"})
            assert answer.status_code == 200
            links = answer.json()["links"]
            assert all(link.startswith("/a/fleet/") for link in links)
        for link in links:
            assert (await it.http.get(link)).status_code in (200, 426)


async def test_what_only_looks_like_the_root_path_is_not_under_it() -> None:
    async with site(root_path="/fleet") as it:
        for path in ("/fleetX", "/fleetX/health", "/fleet/fleet/health", "/flee", "/fleet//health", "/FLEET/health"):
            assert (await it.http.get(path)).status_code == 404, path
        assert (await it.http.get("/fleet/health/")).status_code == 404  # and no redirect


async def test_without_a_root_path_there_is_none() -> None:
    async with site() as it:
        assert (await it.http.get("/fleet/health")).status_code == 404
        index = await it.http.get("/", headers={"Accept": "application/json"})
        assert index.json()["links"][0] == "/health"


@row(57)
async def test_a_forged_host_is_in_no_answer() -> None:
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    async with site(root_path="/fleet", trusted_proxies=("127.0.0.1",)) as it:
        made = (await it.http.post("/api/v1/conversations")).json()["id"]
        for answer in (
            await it.http.get("/", headers=forged),
            await it.http.get("/health/", headers=forged),
            await it.http.get("/fleet", headers=forged),
            await it.http.get("/api/ws/chat", headers=forged),
            await it.http.post(f"/api/v1/conversations/{made}/runs", headers=forged, json={"message": "hi"}),
        ):
            assert not answer.is_redirect
            assert "evil" not in answer.text + str(answer.headers)

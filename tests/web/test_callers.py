"""Who may see what: every door with no key, a wrong one, one's own and another's."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from agentic_fleet.web.routes import ROUTES
from tests.faults.table import row
from tests.script import Paced, asking, question
from tests.web.peer import Chat, chat
from tests.web.site import Event, Site, site, types

KEYS = {"alice": "alice-0123456789", "bob": "bob-0123456789ab"}
PAIRS = tuple(f"{name}:{key}" for name, key in KEYS.items())
OPEN = {"/", "/health", "/ready", "/api/v1/sign-in", "/api/v1/sign-out"}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@asynccontextmanager
async def two_callers(*act: Any, **knobs: Any) -> AsyncIterator[tuple[Site, httpx.AsyncClient, httpx.AsyncClient]]:
    """A site with its helpers in Alice's name, and each one's own client."""
    async with site(*act, api_keys=PAIRS, **knobs) as it:
        async with httpx.AsyncClient(base_url=it.url, headers=bearer("bob"), timeout=10) as bob:
            it.http.headers.update(bearer("alice"))
            yield it, it.http, bob


async def test_everything_but_the_page_and_the_probes_needs_a_key() -> None:
    async with site(api_keys=PAIRS) as it:
        for route in ROUTES:
            path = route.path.replace("{conversation_id}", "c").replace("{run_id}", "r")  # type: ignore[attr-defined]
            for method in getattr(route, "methods", None) or ():
                answer = await it.http.request(method, path)
                if path in OPEN or path.startswith("/console/"):
                    assert answer.status_code not in (401, 500), (method, path)
                    continue
                assert answer.status_code == 401, (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
                form = "application/json" if path.startswith("/v1/") else "application/problem+json"
                assert method == "HEAD" or answer.headers["content-type"] == form
        assert (await it.http.get("/nothing")).status_code == 401, "what does not exist is not told either"
        assert it.script.turns == []


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer wrong-0123456789", "Basic YWxpY2U6eA==", KEYS["alice"], "Bearer \xff"]
)
async def test_a_wrong_key_is_refused_without_being_repeated(value: str) -> None:
    async with site(api_keys=PAIRS) as it:
        answer = await it.http.get("/api/v1/runs", headers={b"Authorization": value.encode("latin-1")})
        assert answer.status_code == 401
        assert "wrong" not in answer.text


@row(12)
async def test_a_run_belongs_to_who_asked_and_does_not_exist_for_others() -> None:
    async with two_callers(asking(question("q1"))) as (it, alice, bob):
        run = await it.start()
        id, of = run["run_id"], run["conversation_id"]
        async with it.stream(f"/api/v1/runs/{id}/events") as reader:
            while (await reader.next()).get("kind") != "request":
                pass
        answer = {"request_id": "q1", "response": "red"}
        missing = [
            ("GET", f"/api/v1/runs/{id}", None),
            ("GET", f"/api/v1/runs/{id}/events", None),
            ("GET", f"/api/v1/runs/{id}/events?after=999", None),
            ("GET", f"/api/v1/runs/{id}/checkpoints", None),
            ("POST", f"/api/v1/runs/{id}/cancel", None),
            ("POST", f"/api/v1/runs/{id}/resume", {}),
            ("POST", f"/api/v1/runs/{id}/responses", answer),
            ("POST", f"/api/v1/runs/{id}/responses", {**answer, "request_id": "q9"}),
            ("GET", f"/api/v1/conversations/{of}", None),
            ("DELETE", f"/api/v1/conversations/{of}", None),
            ("PATCH", f"/api/v1/conversations/{of}", {"title": "Mine"}),
            ("POST", f"/api/v1/conversations/{of}/runs", {"message": "me too"}),
            ("GET", f"/api/chat/{of}/stream?message=me+too", None),
            ("GET", f"/api/chat/{of}/stream?message=one+two+three", None),
            ("POST", f"/api/chat/{of}/cancel?workflow_id={id}", None),
            ("POST", f"/api/chat/{of}/respond?workflow_id={id}", answer),
        ]
        for method, path, body in missing:
            refused = await bob.request(method, path, json=body)
            assert refused.status_code == 404, (method, path, refused.text)
        resumed = await bob.get(f"/api/chat/{of}/stream?message=x", headers={"Last-Event-ID": f"{id}:1"})
        assert resumed.status_code == 404
        for path in ("/api/v1/runs", f"/api/v1/runs?conversation_id={of}", "/api/v1/conversations"):
            assert (await bob.get(path)).json() == []
            assert len((await alice.get(path)).json()) == 1
        assert (await it.get(f"/api/v1/runs/{id}"))["status"] == "waiting", "nothing of Bob's reached it"
        assert (await alice.post(f"/api/v1/runs/{id}/responses", json=answer)).status_code == 200
        await it.runs.idle()
        assert (await it.get(f"/api/v1/runs/{id}"))["status"] == "completed"
        assert (await bob.get(f"/api/v1/runs/{id}")).status_code == 404, "nor when it has ended"


async def test_an_idempotency_key_is_its_callers() -> None:
    async with two_callers() as (it, alice, bob):
        runs = []
        for client in (alice, bob, alice, bob):
            of = (await client.get("/api/v1/conversations")).json() or [
                (await client.post("/api/v1/conversations")).json()
            ]
            path = f"/api/v1/conversations/{of[0]['id']}/runs"
            made = await client.post(path, json={"message": "hi"}, headers={"Idempotency-Key": "k"})
            assert made.status_code == 202
            runs.append(made.json()["run_id"])
            await it.runs.idle()
        assert runs[0] != runs[1]
        assert runs[2:] == runs[:2]


async def hear(frames: Any, key: str | None, url: str) -> list[Event]:
    """What the socket answers to `frames`, until as many error frames have come."""
    offered = [Subprotocol("bearer"), Subprotocol(key)] if key else None
    address = url.replace("http", "ws") + "/api/ws/chat"
    async with connect(address, subprotocols=offered, proxy=None, compression=None) as socket:
        talk, heard = Chat(socket), []
        for frame in frames:
            await talk.say(frame)
            heard.append(await talk.hear())
        return heard


async def test_a_socket_shows_its_key_as_a_subprotocol_and_reaches_only_what_is_its_callers() -> None:
    paced = Paced()
    async with two_callers(paced) as (it, alice, bob):
        run = await it.start()
        id, of = run["run_id"], run["conversation_id"]
        frames = [
            {"type": "watch", "run_id": id},
            {"type": "cancel", "workflow_id": id},
            {"type": "response", "workflow_id": id, "request_id": "q", "response": 1},
            {"type": "workflow.resume", "run_id": id},
            {"type": "workflow.resume", "conversation_id": of},
            {"type": "task", "conversation_id": of, "message": "me too"},
        ]
        heard = await hear(frames, KEYS["bob"], it.url)
        assert [(event["type"], event["data"]["status"]) for event in heard] == [("error", 404)] * len(frames)
        assert types(await hear([frames[0]], KEYS["alice"], it.url)) == ["connected"]
        async with chat(it, additional_headers=bearer("alice")) as talk:
            await talk.say(frames[0])
            assert (await talk.hear())["type"] == "connected"
        paced.finish()


@row(53)
@pytest.mark.parametrize("offered", [None, ["bearer"], ["bearer", "wrong-0123456789"], ["chat", KEYS["alice"]]])
async def test_a_socket_without_a_key_is_told_so_by_its_close_code(offered: list[str] | None) -> None:
    async with site(api_keys=PAIRS) as it:
        protocols = [Subprotocol(each) for each in offered] if offered else None
        url = it.url.replace("http", "ws") + "/api/ws/chat"
        async with connect(url, subprotocols=protocols, proxy=None, compression=None) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4401


async def test_a_page_signs_in_once_and_its_event_source_needs_no_header() -> None:
    async with site(api_keys=PAIRS) as it:
        wrong = await it.http.post("/api/v1/sign-in", json={"key": "wrong-0123456789"})
        assert (wrong.status_code, wrong.headers.get("set-cookie")) == (401, None)
        signed = await it.http.post("/api/v1/sign-in", json={"key": KEYS["alice"]})
        assert signed.json() == {"caller": "alice", "operator": True}
        cookie = signed.headers["set-cookie"]
        assert KEYS["alice"] not in cookie
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert (await it.get("/api/v1/caller")) == {"caller": "alice", "operator": True}
        events = await it.read("/api/chat/demo/stream?message=hello")
        assert events[-1]["type"] == "done"
        session = {"Cookie": cookie.partition(";")[0]}
        async with chat(it, additional_headers=session) as talk:
            await talk.say({"type": "ping"})
            assert await talk.hear() == {"type": "pong"}
        assert (await it.http.get("/api/v1/caller", headers={"Authorization": "Bearer no"})).status_code == 401
        assert (await it.http.post("/api/v1/sign-out")).status_code == 204
        assert (await it.http.get("/api/v1/caller")).status_code == 401


async def test_without_keys_everybody_on_this_machine_is_the_same_caller() -> None:
    async with site() as it:
        assert await it.get("/api/v1/caller") == {"caller": "local", "operator": True}
        assert (await it.http.post("/api/v1/sign-in", json={"key": "any"})).json() == {
            "caller": "local",
            "operator": True,
        }
        assert (await it.http.get("/api/v1/caller", headers={"Authorization": "Bearer any"})).status_code == 200
        assert types(await hear([{"type": "ping"}], KEYS["bob"], it.url)) == ["pong"]


async def test_how_the_team_decides_is_changed_by_operators_alone_when_there_are_any() -> None:
    changes = [
        ("POST", "/api/v1/optimization/jobs"),
        ("DELETE", "/api/v1/dspy/cache"),
        ("DELETE", "/api/v1/dspy/reasoner/routing-cache"),
        ("POST", "/api/v1/dspy/programs/packaged/adopt"),
    ]
    async with two_callers(operators=("alice",)) as (it, alice, bob):
        for method, path in changes:
            refused = await bob.request(method, path)
            assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden"), path
            assert (await bob.get(path.replace("/packaged/adopt", ""))).status_code in (200, 405), "all may look"
            assert (await alice.request(method, path)).status_code < 300, path
        assert (await bob.get("/api/v1/caller")).json() == {"caller": "bob", "operator": False}
        assert (await alice.get("/api/v1/caller")).json() == {"caller": "alice", "operator": True}
        signed = await bob.post("/api/v1/sign-in", json={"key": KEYS["bob"]})
        assert signed.json() == {"caller": "bob", "operator": False}


@row(61)
async def test_streams_of_one_caller_do_not_take_the_others_places() -> None:
    paced = Paced()
    async with two_callers(paced, caller_streams=2, max_streams=3) as (it, alice, bob):
        run = await it.start()
        path = f"/api/v1/runs/{run['run_id']}/events"
        theirs = (await bob.post("/api/v1/conversations")).json()["id"]
        async with it.stream(path), it.stream(path):
            for refused in (await alice.get(path), await alice.get("/api/chat/x/stream?message=x")):
                assert refused.status_code == 429
                assert int(refused.headers["retry-after"]) > 0
            with pytest.raises(InvalidStatus) as handshake:
                async with chat(it, additional_headers=bearer("alice")):
                    pass
            assert handshake.value.response.status_code == 429
            started = await bob.post(f"/api/v1/conversations/{theirs}/runs", json={"message": "hi"})
            mine = f"/api/v1/runs/{started.json()['run_id']}/events"
            async with bob.stream("GET", mine) as answer:
                assert answer.status_code == 200
                full = await bob.get(mine)
                assert full.status_code == 503 and int(full.headers["retry-after"]) > 0
        paced.finish()


async def test_a_caller_that_starts_too_many_runs_waits_and_the_others_do_not() -> None:
    async with two_callers(run_rate=2) as (it, alice, bob):
        await it.finished()
        await it.finished()
        conversation = (await alice.post("/api/v1/conversations")).json()["id"]
        for refused in (
            await alice.post(f"/api/v1/conversations/{conversation}/runs", json={"message": "hi"}),
            await alice.get("/api/chat/x/stream?message=x"),
        ):
            assert refused.status_code == 429
            assert 0 < int(refused.headers["retry-after"]) <= 30
        [told] = await hear([{"type": "task", "message": "hi"}], KEYS["alice"], it.url)
        assert (told["type"], told["data"]["status"]) == ("error", 429)
        assert types(await hear([{"type": "task", "message": "hi"}], KEYS["bob"], it.url)) == ["connected"]


@row(54)
async def test_a_socket_that_sends_too_many_frames_is_closed_and_its_runs_go_on() -> None:
    paced = Paced()
    async with two_callers(paced, frame_rate=20) as (it, alice, bob):
        async with chat(it, additional_headers=bearer("alice")) as talk:
            await talk.say({"type": "task", "message": "hi"})
            run = (await talk.hear())["workflow_id"]
            for _ in range(20):
                await talk.say({"type": "ping"})
            assert await talk.closed() == 4429
        assert (await it.get(f"/api/v1/runs/{run}"))["status"] == "running"
        assert types(await hear([{"type": "ping"}], KEYS["bob"], it.url)) == ["pong"]
        paced.finish()


async def test_names_and_keys_survive_json() -> None:
    """What a page may send to sign in, and what it may not."""
    async with site(api_keys=PAIRS) as it:
        for body in ("{}", '{"key": 1}', '{"key": "x", "more": 1}', "[]", json.dumps({"key": "\0" * 100})):
            answer = await it.http.post("/api/v1/sign-in", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (401, 422), body

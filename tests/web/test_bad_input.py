"""Whatever a client sends: a problem with a status that fits, never a 500, never a hang."""

import json
from itertools import product
from urllib.parse import quote

import anyio
import httpx
import pytest

from tests.faults.table import row
from tests.web.site import Site, site

JSON = {"content-type": "application/json"}
DEEP = b"[" * 10_000 + b"]" * 10_000
ID = "a1"
SURFACE = {
    "/": {"GET", "HEAD"},
    "/health": {"GET", "HEAD"},
    "/ready": {"GET", "HEAD"},
    "/api/v1/conversations": {"GET", "HEAD", "POST"},
    f"/api/v1/conversations/{ID}": {"GET", "HEAD", "PATCH", "DELETE"},
    f"/api/v1/conversations/{ID}/runs": {"POST"},
    "/api/v1/runs": {"GET", "HEAD"},
    f"/api/v1/runs/{ID}": {"GET", "HEAD"},
    f"/api/v1/runs/{ID}/events": {"GET", "HEAD"},
    f"/api/v1/runs/{ID}/cancel": {"POST"},
    f"/api/v1/runs/{ID}/responses": {"POST"},
    f"/api/v1/runs/{ID}/checkpoints": {"GET", "HEAD"},
    f"/api/v1/runs/{ID}/resume": {"POST"},
    "/api/v1/agents": {"GET", "HEAD"},
    "/api/v1/run": {"POST"},
    "/api/v1/sessions": {"GET", "HEAD"},
    f"/api/v1/sessions/{ID}": {"GET", "HEAD", "DELETE"},
    f"/api/chat/{ID}/stream": {"GET", "HEAD"},
    f"/api/chat/{ID}/cancel": {"POST"},
    f"/api/chat/{ID}/respond": {"POST"},
    "/api/ws/chat": {"GET", "HEAD"},
}
BAD_BODIES = {
    "garbage": (b"{", 400),
    "NaN": (b'{"message": NaN}', 400),
    "byte order mark": (b'\xef\xbb\xbf{"message": "hi"}', 400),
    "UTF-16": ('{"message": "hi"}'.encode("utf-16"), 400),
    "10,000 levels": (DEEP, 400),
    "5,000 digits": (b'{"message": ' + b"1" * 5000 + b"}", 400),
    "1e400": (b'{"message": 1e400}', 400),
    "lone surrogate": (b'{"message": "\\ud800"}', 400),
    "raw surrogate": (b'{"message": "\xed\xa0\x80"}', 400),
    "two documents": (b'{"message": "hi"} {}', 400),
    "array": (b"[]", 422),
    "null": (b"null", 422),
    "no message": (b"{}", 422),
    "30 digits": (b'{"message": 123456789012345678901234567890}', 422),
    "number": (b'{"message": 5}', 422),
    "empty message": (b'{"message": ""}', 422),
    "whitespace": (b'{"message": " \\n\\u2003"}', 422),
    "10,001 characters": (json.dumps({"message": "x" * 10_001}).encode(), 422),
    "unknown key": (b'{"message": "hi", "mesage": "hi"}', 422),
    "unknown mode": (b'{"message": "hi", "mode": "chaos"}', 422),
    "word for a flag": (b'{"message": "hi", "require_plan_approval": "true"}', 422),
    "number for a flag": (b'{"message": "hi", "enable_checkpointing": 1}', 422),
}


def assert_problem(answer: httpx.Response, status: int, case: object = None) -> None:
    assert answer.status_code == status, (case, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["type"] and body["title"] and body["detail"]
    assert "Traceback" not in answer.text and ".py" not in answer.text


async def conversation(it: Site) -> str:
    return str((await it.http.post("/api/v1/conversations")).json()["id"])


@row(42, 43)
async def test_bad_bodies_are_refused() -> None:
    async with site() as it:
        path = f"/api/v1/conversations/{await conversation(it)}/runs"
        for name, (content, status) in BAD_BODIES.items():
            assert_problem(await it.http.post(path, content=content, headers=JSON), status, name)
        assert it.script.turns == []


async def test_a_refusal_names_the_field() -> None:
    async with site() as it:
        path = f"/api/v1/conversations/{await conversation(it)}/runs"
        answer = await it.http.post(path, json={"message": "hi", "mode": "chaos"})
        assert answer.json()["errors"] == [{"field": "mode", "problem": "invalid enum value 'chaos'"}]
        answer = await it.http.post(path, json={"message": "hi", "x" * 5000: 1})
        assert answer.json()["errors"][0]["problem"] == "unknown field"
        assert len(answer.content) < 2000


@row(44)
async def test_text_of_any_kind_is_kept_as_it_is() -> None:
    text = "a\u0000b \u2028\u2029\u0085 \U0001f600 \r\n" + "\u00e9" * 9000
    async with site() as it:
        run = await it.start(text)
        assert run["task"] == text


@row(42)
async def test_a_body_of_another_type_is_refused() -> None:
    async with site() as it:
        path = f"/api/v1/conversations/{await conversation(it)}/runs"
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
            answer = await it.http.post(path, content=b'{"message": "hi"}', headers={"content-type": kind})
            assert_problem(answer, 415, kind)


async def test_a_bad_title_is_refused() -> None:
    async with site() as it:
        for title in ("", "  ", "x" * 201, None):
            assert_problem(await it.http.post("/api/v1/conversations", json={"title": title}), 422, title)


@row(45)
async def test_a_body_over_the_limit_is_refused_however_it_is_sent() -> None:
    body = json.dumps({"title": "x" * 5000}).encode()

    async def chunks() -> object:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    async with site(max_body=4096) as it:
        assert_problem(await it.http.post("/api/v1/conversations", content=body, headers=JSON), 413)
        chunked = await it.http.post("/api/v1/conversations", content=chunks(), headers=JSON)  # type: ignore[arg-type]  # an async generator
        assert_problem(chunked, 413)
        assert_problem(await it.http.request("GET", "/health", content=body), 413)
        assert (await it.http.get("/health")).status_code == 200


async def test_a_body_that_breaks_off_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as it:
        host, port = it.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as peer:
            head = f"POST /api/v1/conversations HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n"
            await peer.send(head.encode() + b"{")
        assert (await it.http.get("/health")).status_code == 200
    assert caplog.text == ""


@row(47)
async def test_an_id_that_nothing_can_have_is_not_found() -> None:
    async with site() as it:
        for id in ("..", "a\x00", "a\n", "\U0001f600", "x" * 300, "a.b", "%2e%2e", "\u212a", " "):
            part = quote(id, safe="").replace(".", "%2E")
            for path in ("conversations/{}", "runs/{}", "runs/{}/events", "runs/{}/checkpoints"):
                assert_problem(await it.http.get("/api/v1/" + path.format(part)), 404, id)
            for path in ("conversations/{}/runs", "runs/{}/cancel", "runs/{}/responses", "runs/{}/resume"):
                assert_problem(await it.http.post("/api/v1/" + path.format(part)), 404, id)
            assert_problem(await it.http.get(f"/api/chat/{part}/stream?message=hi"), 404, id)
            for path in ("cancel", "respond"):
                assert_problem(await it.http.post(f"/api/chat/{part}/{path}"), 404, id)
        assert await it.get("/api/v1/conversations") == []


async def test_a_bad_query_is_refused_with_the_name_of_the_parameter() -> None:
    queries = ["limit=0", "limit=101", "limit=x", "limit=", "limit=1e1", "offset=-1", f"offset={'9' * 40}"]
    queries += ["limit=1&limit=2", "lmit=1", "status=dead", "conversation_id=..", "conversation_id=a%0a"]
    async with site() as it:
        for query in queries:
            answer = await it.http.get(f"/api/v1/runs?{query}")
            assert_problem(answer, 422, query)
            assert answer.json()["errors"][0]["field"] == query.partition("=")[0]
        for path in ("/api/v1/conversations/a", "/api/v1/runs/a", "/api/v1/runs/a/events", "/api/v1/agents"):
            assert_problem(await it.http.get(path + "?verbose=1"), 422, path)


async def test_a_bad_idempotency_key_is_refused() -> None:
    async with site() as it:
        path = f"/api/v1/conversations/{await conversation(it)}/runs"
        for key in (b"", b"x" * 256, b"a b", b"\xe9"):
            answer = await it.http.post(path, json={"message": "hi"}, headers=[(b"Idempotency-Key", key)])
            assert_problem(answer, 422, key)


@row(71)
async def test_every_method_of_every_path_is_answered() -> None:
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
    async with site() as it:
        for path, method in product(SURFACE, methods):
            answer = await it.http.request(method, path, content=b"{", headers=JSON)
            assert answer.status_code < 500, (method, path, answer.text)
            if method not in SURFACE[path]:
                if method == "HEAD":
                    assert (answer.status_code, answer.content) == (405, b"")
                else:
                    assert_problem(answer, 405, (method, path))
                assert set(answer.headers["allow"].split(", ")) == SURFACE[path]
        assert it.script.turns == []


@row(71, 72)
async def test_unknown_paths_are_problems_and_never_redirects() -> None:
    async with site(insecure=True) as it:
        for path in ("/nothing", "/health/", "/api/v1/runs/", "/api//health", "/api/v1/conversations/a/b"):
            assert_problem(await it.http.get(path, headers={"host": "evil.example"}), 404)


async def test_a_plain_request_for_the_socket_is_told_to_upgrade() -> None:
    async with site() as it:
        answer = await it.http.get("/api/ws/chat")
        assert_problem(answer, 426)
        assert answer.headers["upgrade"] == "websocket"

"""Peers that send too much or too slowly, without a proxy in between."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.abc import SocketStream

from agentic_fleet import connection
from agentic_fleet.testing import Fleet, ScriptedModel, running_fleet
from agentic_fleet.web import wire
from tests.faults.table import row
from tests.script import Paced
from tests.web.peer import chat
from tests.web.site import Site, site

HEAD = b"POST /api/v1/conversations HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def reached(it: Site | Fleet) -> AsyncIterator[SocketStream]:
    parts = urlsplit(it.url)
    async with await anyio.connect_tcp(parts.hostname or "", parts.port or 0) as stream:
        yield stream


async def answer(stream: SocketStream, sent: bytes) -> bytes:
    """The first bytes that come back for `sent`; none when the connection was broken."""
    try:
        for start in range(0, len(sent), 65_536):
            await stream.send(sent[start : start + 65_536])
        return await stream.receive()
    except (anyio.BrokenResourceError, anyio.EndOfStream):
        return b""


HUGE = {
    "one header of 20 MB": HEAD + b"X-Big: " + b"x" * 20_000_000,
    "a million headers": HEAD + b"".join(b"X-%d: x\r\n" % n for n in range(1_000_000)),
    "a path of 20 MB": b"GET /" + b"x" * 20_000_000,
}


@row(60)
@pytest.mark.parametrize("sent", HUGE.values(), ids=HUGE)
async def test_a_huge_head_is_refused(sent: bytes) -> None:
    async with site() as it, reached(it) as stream:
        assert (await answer(stream, sent))[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
        assert (await it.http.get("/health")).status_code == 200


@pytest.mark.parametrize("trailer", [b"X-Big: " + b"x" * 20_000_000, b"X-Small: x\r\n" * 1_000_000])
async def test_endless_trailers_are_refused(trailer: bytes) -> None:
    async with site() as it, reached(it) as stream:
        assert await answer(stream, CHUNKED + b"2\r\n{}\r\n0\r\n" + trailer) == b""
        assert (await it.http.get("/health")).status_code == 200


async def test_a_body_in_small_chunks_with_a_trailer_and_another_request_behind_it_pass() -> None:
    body = b'{"title":"' + b"x" * 190 + b'"}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Sum: 1\r\n\r\n"
    async with site() as it, reached(it) as stream:
        for _ in range(2):
            assert (await answer(stream, CHUNKED + chunks)).startswith(b"HTTP/1.1 201")


async def test_a_large_body_is_no_large_head() -> None:
    async with site(max_body=2_000_000) as it:
        for _ in range(3):  # on one connection
            made = await it.http.post("/api/v1/conversations", json={"title": " " * 1_500_000})
            assert made.status_code == 422


@row(59)
async def test_heads_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIME", 0.2)
    async with site() as it:
        for sent in (b"G", b"GET /health HT", HEAD + b"X-Slow: "):
            async with reached(it) as stream:
                assert (await answer(stream, sent)).startswith(b"HTTP/1.1 408")
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
        async with reached(it) as silent:
            with pytest.raises(anyio.EndOfStream):
                await silent.receive()


async def test_a_second_head_is_not_waited_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIME", 0.2)
    async with site() as it, reached(it) as stream:
        assert b" 200 " in await answer(stream, b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await answer(stream, b"GET /ready HTTP/1.1\r\nHost:")).startswith(b"HTTP/1.1 408")


@row(59)
async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BODY_TIME", 0.2)
    async with site() as it, reached(it) as stream:
        head = HEAD + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
        refused = await answer(stream, head)
        assert refused.startswith(b"HTTP/1.1 408") and b"application/problem+json" in refused
        assert b"\r\nconnection: close\r\n" in refused.lower()


@row(59)
async def test_with_200_half_open_connections_the_service_answers() -> None:
    async with site() as it, anyio.create_task_group() as tasks:
        held = anyio.Event()

        async def hold(sent: bytes, *, task_status: anyio.abc.TaskStatus[None]) -> None:
            async with reached(it) as stream:
                await stream.send(sent)
                task_status.started()
                await held.wait()

        for n in range(100):
            await tasks.start(hold, b"GET /%d HTTP/1.1\r\nX-" % n)
            await tasks.start(hold, HEAD + b"Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
        assert (await it.http.get("/health")).status_code == 200
        assert (await it.finished())["status"] == "completed"
        held.set()


async def test_streams_and_sockets_outlive_the_time_for_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIME", 0.1)
    script = Paced()
    async with site(script, heartbeat=0.1) as it, chat(it) as peer:
        run = await it.start()
        async with it.stream(f"/api/v1/runs/{run['run_id']}/events") as reader:
            await reader.next()
            for _ in range(3):
                await anext(reader.frames)
            await peer.say({"type": "ping"})
            assert await peer.hear() == {"type": "pong"}
            script.step("a")
            assert (await reader.next())["delta"] == "a"


async def test_the_service_is_run_with_these_bounds() -> None:
    async with ScriptedModel() as model, running_fleet(model) as fleet, reached(fleet) as stream:
        assert (await answer(stream, HUGE["one header of 20 MB"]))[:12] in (b"HTTP/1.1 431", b"")


REFUSED = HEAD + b"Content-Type: application/json\r\nContent-Length: 9000000\r\n"


@pytest.mark.parametrize("keep", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
async def test_a_peer_that_is_refused_in_mid_body_may_finish_and_reads_why(keep: bytes) -> None:
    async with site() as it, reached(it) as stream:
        await stream.send(REFUSED + keep + b"\r\n")
        told = await stream.receive()
        assert told.startswith(b"HTTP/1.1 413")
        for _ in range(9):
            await stream.send(b"x" * 1_000_000)
        if keep:
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await stream.receive()
        else:  # and the connection is as good as before
            await stream.send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while b"HTTP/1.1 200" not in told:
                told += await stream.receive()


@pytest.mark.parametrize("keep", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
async def test_a_refused_body_that_never_ends_is_cut(keep: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 0.2)
    async with site() as it, reached(it) as stream:
        await stream.send(REFUSED + keep + b"\r\n")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await stream.receive()

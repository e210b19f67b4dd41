"""Streams of runs: exact resuming, ready bytes, heartbeats, readers that leave or stall, the way out."""

import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import httpx
import pytest
from sse_starlette.sse import AppStatus

from agentic_fleet.errors import StoreFailed
from agentic_fleet.turns import Emit, Result, Turn
from tests.faults.table import row
from tests.script import Paced, answer, token
from tests.web.site import Site, seqs, site, types

STREAM = {"Accept": "text/event-stream"}


def events_of(run: dict[str, str]) -> str:
    return f"/api/v1/runs/{run['run_id']}/events"


async def test_a_stream_tells_the_whole_run_once_and_ends() -> None:
    async with site() as it:
        run = await it.start("one two")
        async with it.stream(events_of(run)) as reader:
            headers = reader.response.headers
            events = await reader.rest()
        assert types(events) == ["connected", "response.delta", "response.delta", "response.completed", "done"]
        assert seqs(events) == [1, 2, 3, 4, 5]
        assert events[1] | {"id": 0, "timestamp": ""} == {
            "type": "response.delta",
            "delta": "one ",
            "agent_id": "writer",
            "category": "response",
            "ui_hint": {"component": "MessageBubble", "priority": "high", "collapsible": False},
            "workflow_id": run["run_id"],
            "timestamp": "",
            "id": 0,
        }
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-request-id"]


async def test_the_bytes_are_plain_frames_with_one_retry() -> None:
    async with site() as it:
        run = await it.finished("hi")
        raw = (await it.http.get(events_of(run))).content
        assert raw.startswith(b"retry: 2000\nid: %s:1\ndata: {" % run["run_id"].encode())
        assert raw.count(b"retry:") == 1
        lines = [line for frame in raw.removesuffix(b"\n\n").split(b"\n\n")[1:] for line in frame.split(b"\n")]
        assert [line.split(b": ")[0] for line in lines] == [b"id", b"data"] * 3


@row(8)
async def test_resuming_at_every_event_gives_exactly_the_rest() -> None:
    async with site() as it:
        run = await it.finished("a b c d e f g h")
        path = events_of(run)
        whole = await it.read(path)
        for k in range(len(whole)):
            assert await it.read(path, {"Last-Event-ID": f"{run['run_id']}:{k}"}) == whole[k:]
            assert await it.read(f"{path}?after={k}") == whole[k:]
            assert await it.read(f"{path}?after={run['run_id']}:{k}") == whole[k:]


@row(10)
async def test_a_cursor_at_the_end_of_a_finished_run_stops_the_browser() -> None:
    async with site() as it:
        run = await it.finished()
        end = await it.http.get(events_of(run), headers={"Last-Event-ID": run["last_event_id"]})
        assert (end.status_code, end.content) == (204, b"")


@row(14)
async def test_the_header_wins_over_the_query() -> None:
    async with site() as it:
        run = await it.finished()
        rest = await it.read(events_of(run) + "?after=1", {"Last-Event-ID": f"{run['run_id']}:4"})
        assert seqs(rest)[0] == 5


async def test_a_reader_that_comes_and_goes_while_the_run_works_misses_nothing() -> None:
    script = Paced()
    async with site(script) as it:
        run = await it.start()
        seen: list[dict[str, object]] = []
        cursor = f"{run['run_id']}:0"
        for step in range(12):
            script.step(f"{step}a", f"{step}b")
            async with it.stream(events_of(run), {"Last-Event-ID": cursor}) as reader:
                seen += await reader.until(f"{step}a" if step % 2 else f"{step}b")
                cursor = str(seen[-1]["id"])
        script.finish()
        seen += await it.read(events_of(run), {"Last-Event-ID": cursor})
        assert seqs(seen) == list(range(1, len(seen) + 1))
        assert seen == await it.read(events_of(run))


async def test_a_far_reader_gets_many_events_in_one_write() -> None:
    script = Paced()
    async with site(script) as it:
        run = await it.start()
        script.step(*[f"{n:04}" for n in range(3000)])
        script.finish()
        await it.runs.idle()
        async with it.http.stream("GET", events_of(run)) as response:
            chunks = [chunk async for chunk in response.aiter_raw()]
        assert b"".join(chunks).count(b"\nid: ") == 3003
        assert len(chunks) < 100


async def test_a_join_of_frames_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_fleet.web.sse.WRITE", 1000)
    async with site() as it:
        run = await it.finished(" ".join("abcdefghijklmnop"))
        assert len(await it.read(events_of(run))) == 19


async def test_lean_events_leave_out_what_follows_from_the_rest() -> None:
    async with site() as it:
        run = await it.finished("hi")
        events = await it.read(events_of(run) + "?fields=lean")
        assert events[1] == {"type": "response.delta", "delta": "hi ", "agent_id": "writer", "id": f"{run['run_id']}:2"}
        assert all(not {"category", "ui_hint", "timestamp", "workflow_id"} & set(event) for event in events)


async def test_silence_is_filled_with_heartbeats_that_move_no_cursor() -> None:
    script = Paced()
    async with site(script, heartbeat=0.05) as it:
        run = await it.start()
        async with it.http.stream("GET", events_of(run) + "?after=0") as response:
            lines = response.aiter_lines()
            async for line in lines:
                if '"heartbeat"' in line:
                    break
            beat = json.loads(line.removeprefix("data: "))
            assert {"type", "category", "ui_hint", "timestamp"} == set(beat)
            assert await anext(lines) == ""
            script.finish()
            rest = [line async for line in lines]
        assert [line for line in rest if line.startswith("id")] == [f"id: {run['run_id']}:{n}" for n in (2, 3)]


async def test_heartbeats_are_lean_where_events_are() -> None:
    async with site(Paced(), heartbeat=0.05) as it:
        run = await it.start()
        async with it.http.stream("GET", events_of(run) + "?fields=lean") as response:
            async for line in response.aiter_lines():
                if "heartbeat" in line:
                    break
        assert line == 'data: {"type":"heartbeat"}'


@row(44, 49)
async def test_no_text_can_tear_a_frame() -> None:
    text = 'a\u2028b\u2029c\u0085d\r\ne\n\ndata: f\x00g\ud83d "\U0001f600'

    async def act(turn: Turn, emit: Emit) -> Result:
        await emit(token(text))
        return answer("")

    async with site(act) as it:
        run = await it.finished()
        raw = (await it.http.get(events_of(run))).content
        assert raw.isascii()
        bodies = [line.removeprefix("data: ") for line in raw.decode().splitlines() if line.startswith("data: ")]
        assert len(bodies) == 4
        assert json.loads(bodies[1])["delta"] == text.replace("\ud83d", "\ufffd")


@row(11)
async def test_a_position_that_cannot_be_is_a_bad_request() -> None:
    async with site() as it:
        run = await it.finished()
        id, page = run["run_id"], (b"Accept", b"application/json")
        for bad in ("-1", "99", "1.0", "x", "1 1", "٣", "9" * 30, ":1", "a:b:1", "a:", "é:1", f"{id}:-1", f"{id}:99"):
            header = (b"Last-Event-ID", bad.encode())
            for answer in (
                await it.http.get(events_of(run), params={"after": bad}),
                await it.http.get(events_of(run), headers=[header]),
                await it.http.get(events_of(run), headers=[header, page]),
            ):
                assert answer.status_code == 400, (bad, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"


@row(11)
async def test_an_empty_header_is_no_position_and_an_empty_parameter_is_a_bad_one() -> None:
    async with site() as it:
        run = await it.finished()
        assert seqs(await it.read(events_of(run), {"Last-Event-ID": ""}))[0] == 1
        assert (await it.http.get(events_of(run) + "?after=")).status_code == 400
        for bad in ("1", "nonsense"):
            refused = await it.http.get(events_of(run), headers={"Last-Event-ID": bad})
            assert (refused.status_code, refused.json()["detail"]) == (400, "Last-Event-ID: must be <run_id>:<seq>")


@row(12)
async def test_a_position_in_another_run_and_an_unknown_run_are_not_found() -> None:
    async with site() as it:
        run, other = await it.finished(), await it.finished()
        wrong = await it.http.get(events_of(run), headers={"Last-Event-ID": other["last_event_id"]})
        assert wrong.status_code == 404
        assert (await it.http.get("/api/v1/runs/nobody/events")).status_code == 404


async def test_a_post_can_be_answered_by_the_stream() -> None:
    async with site() as it:
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        path = f"/api/v1/conversations/{conversation}/runs?fields=lean"
        answer = await it.http.post(path, json={"message": "hi"}, headers=STREAM)
        assert answer.status_code == 200
        assert answer.text.count("\ndata: ") == 4
        assert '{"type":"done"}' in answer.text
        refused = await it.http.post("/api/v1/conversations/nobody/runs", json={"message": "hi"}, headers=STREAM)
        assert (refused.status_code, refused.headers["content-type"]) == (404, "application/problem+json")


async def test_head_gets_the_headers_and_no_stream() -> None:
    async with site(Paced()) as it:
        run = await it.start()
        head = await it.http.head(events_of(run))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")


@row(1, 15)
async def test_a_reader_that_left_does_not_stop_the_run_nor_its_other_readers() -> None:
    script = Paced()
    async with site(script) as it:
        run = await it.start()
        async with it.stream(events_of(run)) as stayer:
            async with AsyncExitStack() as leavers:
                for _ in range(20):
                    reader = await leavers.enter_async_context(it.stream(events_of(run)))
                    assert (await reader.next())["type"] == "connected"
            script.step("still here")
            await stayer.until("still here")
            script.finish()
            assert types(await stayer.rest()) == ["response.completed", "done"]


@row(61)
async def test_one_stream_too_many_is_refused_until_a_place_is_free() -> None:
    async with site(Paced(), max_streams=2) as it:
        run = await it.start()
        async with it.stream(events_of(run)), it.stream(events_of(run)):
            refused = await it.http.get(events_of(run))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            chat = await it.http.get("/api/chat/new/stream", params={"message": "hi"})
            assert chat.status_code == 503
            assert len(it.script.turns) == 1
        await free_again(it, events_of(run))


async def free_again(it: Site, path: str) -> None:
    """Return when a stream is accepted; the caller's deadline bounds it."""
    while True:
        async with it.http.stream("GET", path) as response:
            if response.status_code == 200:
                return


async def test_a_refused_stream_leaves_its_place() -> None:
    async with site(max_streams=1) as it:
        for _ in range(3):
            assert (await it.http.get("/api/v1/runs/nobody/events")).status_code == 404
        run = await it.finished()
        assert len(await it.read(events_of(run))) == 6


async def test_a_run_asked_to_do_so_lives_as_long_as_it_is_watched() -> None:
    script = Paced()
    async with site(script, disconnect_grace=2, heartbeat=0.1) as it:
        run = await it.start(on_disconnect="cancel")
        async with it.http.stream("GET", events_of(run)) as response:
            beats = 0
            async for line in response.aiter_lines():
                beats += '"heartbeat"' in line
                if beats == 25:  # 2.5 s
                    break
            assert (await it.get(f"/api/v1/runs/{run['run_id']}"))["status"] == "running"
        await script.left.wait()
        await it.runs.idle()
        assert (await it.get(f"/api/v1/runs/{run['run_id']}"))["status"] == "cancelled"


@asynccontextmanager
async def mute_reader(it: Site, path: str) -> AsyncIterator[None]:
    """A peer that asks for a stream and never reads, with little room in its kernel."""
    host, port = it.url.removeprefix("http://").split(":")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((host, int(port)))
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        yield


@row(5)
async def test_a_reader_that_takes_no_bytes_is_cut_and_slows_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentic_fleet")
    script = Paced()
    async with site(script, send_timeout=1, max_streams=2) as it:
        run = await it.start()
        script.step(*["x" * 60_000] * 150)
        async with mute_reader(it, events_of(run)), it.stream(events_of(run)) as other:
            script.finish()
            assert seqs(await other.rest()) == list(range(1, 154))
            while "cut a reader" not in caplog.text:
                await it.http.get("/health")
        assert "Traceback" not in caplog.text


async def test_a_stream_whose_store_fails_ends_and_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object, **more: object) -> None:
        raise StoreFailed("The disk is gone.")

    async with site() as it:
        run = await it.finished()
        with monkeypatch.context() as broken:
            broken.setattr(it.store, "events", fail)
            assert await it.read(events_of(run)) == []
        assert len(await it.read(events_of(run))) == 6


async def test_an_answer_is_whole_even_if_its_reading_cannot_be_noted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: object) -> None:
        raise StoreFailed("The disk is gone.")

    async with site() as it:
        run = await it.finished()
        monkeypatch.setattr(it.store, "mark_done_read", fail)
        assert len(await it.read(events_of(run))) == 6
    assert "could not note" in caplog.text and "Traceback" not in caplog.text


async def test_a_stream_of_a_run_that_was_dropped_meanwhile_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*args: object, **more: object) -> list[object]:
        return []

    async with site() as it:
        run = await it.finished()
        monkeypatch.setattr(it.store, "events", nothing)
        assert await it.read(events_of(run)) == []


async def test_streams_end_properly_when_a_server_that_owns_the_signals_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site(Paced()) as it:
        run = await it.start()
        async with it.stream(events_of(run)) as reader:
            await reader.next()
            monkeypatch.setattr(AppStatus, "should_exit", True)
            assert await reader.rest() == []  # a broken stream would raise httpx.RemoteProtocolError
        assert (await it.get(f"/api/v1/runs/{run['run_id']}"))["status"] == "running"


async def test_a_reader_of_a_cancelled_run_is_told() -> None:
    async with site(Paced()) as it:
        run = await it.start()
        async with it.stream(events_of(run)) as reader, anyio.create_task_group() as tasks:
            await reader.next()
            tasks.start_soon(it.http.post, f"/api/v1/runs/{run['run_id']}/cancel")
            assert types(await reader.rest()) == ["cancelled", "done"]


async def test_a_stream_is_answered_in_the_time_of_its_first_event_not_of_its_last() -> None:
    async with site(Paced()) as it:
        run = await it.start()
        with anyio.fail_after(5):
            async with httpx.AsyncClient(verify=False) as http, http.stream("GET", it.url + events_of(run)) as response:
                assert "connected" in await anext(response.aiter_text())

"""The chat WebSocket, spoken to by a client library that is not ours."""

import json
import logging

import anyio
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from agentic_fleet.turns import Emit, Result, Turn
from agentic_fleet.web.socket import WATCHED
from tests.faults.table import row
from tests.script import Paced, answer
from tests.web.peer import chat
from tests.web.site import Event, Site, seqs, site, types


async def think_for_ever(turn: Turn, emit: Emit) -> Result:
    await anyio.sleep_forever()
    return answer("")


async def test_a_task_starts_a_run_and_shows_it() -> None:
    async with site() as it, chat(it) as peer:
        await peer.say({"type": "task", "message": "one two", "conversation_id": "room", "reasoning_effort": "minimal"})
        events = await peer.until_done()
        assert types(events) == ["connected", "response.delta", "response.delta", "response.completed", "done"]
        assert seqs(events) == [1, 2, 3, 4, 5]
        assert events[0]["data"]["conversation_id"] == "room"
        run = await it.get(f"/api/v1/runs/{events[0]['workflow_id']}")
        assert (run["status"], run["last_event_id"]) == ("completed", events[-1]["id"])
        assert (await it.store.run(run["run_id"])).done_read


async def test_the_frames_are_the_stored_events_with_their_id_in_front() -> None:
    async with site() as it, chat(it) as peer:
        await peer.say({"type": "task", "message": "hi \u2028"})
        first = await peer.socket.recv(decode=False)
        event = json.loads(first)
        assert first.startswith(b'{"id":"%s:1","type":"connected"' % event["workflow_id"].encode())
        assert first.isascii()
        events = [event, *await peer.until_done()]
        assert events == await it.read(f"/api/v1/runs/{event['workflow_id']}/events")


async def test_the_form_of_the_original_needs_no_type_and_no_conversation() -> None:
    async with site() as it, chat(it) as peer:
        await peer.say({"message": "hi", "stream": True, "enable_checkpointing": True})
        events = await peer.until_done()
        made = events[0]["data"]["conversation_id"]
        messages = (await it.get(f"/api/v1/conversations/{made}"))["messages"]
        assert [each["content"] for each in messages] == ["hi", "hi "]


async def test_a_watch_shows_the_rest_from_any_position() -> None:
    async with site() as it, chat(it) as peer:
        run = await it.finished("a b")
        for after, first in ((0, 1), (3, 4), ("4", 5), (f"{run['run_id']}:1", 2)):
            await peer.say({"type": "watch", "run_id": run["run_id"], "after": after})
            assert seqs(await peer.until_done())[0] == first


async def test_one_socket_shows_several_runs() -> None:
    async with site() as it, chat(it) as peer:
        for word in ("a", "b", "c"):
            await peer.say({"type": "task", "message": word})
        events = [event for _ in range(3) for event in await peer.until_done()]
        by_run: dict[str, list[Event]] = {}
        for event in events:
            by_run.setdefault(event["workflow_id"], []).append(event)
        assert sorted(each[1]["delta"] for each in by_run.values()) == ["a ", "b ", "c "]
        assert all(seqs(each) == [1, 2, 3, 4] for each in by_run.values())


async def test_a_cancel_ends_the_named_run_or_the_newest() -> None:
    async with site(think_for_ever) as it, chat(it) as peer:
        other = await it.start()
        await peer.say({"type": "task", "message": "hi"})
        run = (await peer.hear())["workflow_id"]
        await peer.say({"type": "cancel"})
        assert types(await peer.until_done()) == ["cancelled", "done"]
        assert (await it.get(f"/api/v1/runs/{run}"))["status"] == "cancelled"
        await peer.say({"type": "cancel", "workflow_id": other["run_id"]})
        await peer.say({"type": "ping"})
        assert await peer.hear() == {"type": "pong"}
        assert (await it.get(f"/api/v1/runs/{other['run_id']}"))["status"] == "cancelled"


BAD_FRAMES = [
    ("{", 422, "body"),
    ("", 422, "body"),
    ("[]", 422, "body"),
    ("NaN", 422, "body"),
    ("[" * 10_000, 422, "body"),
    (b"\x00\x01", 422, "body"),
    ({}, 422, "message"),
    ({"type": "dance"}, 422, "type"),
    ({"type": 5}, 422, "type"),
    ({"type": "task"}, 422, "message"),
    ({"type": "task", "message": " "}, 422, "message"),
    ({"type": "task", "message": "x" * 10_001}, 422, "message"),
    ({"type": "task", "message": "hi", "mode": "chaos"}, 422, "mode"),
    ({"type": "task", "message": "hi", "conversation_id": "../etc"}, 422, "conversation_id"),
    ({"message": "hi", "conversation_id": "a\n"}, 422, "conversation_id"),
    ({"type": "watch"}, 422, "run_id"),
    ({"type": "watch", "run_id": "nobody"}, 404, None),
    ({"type": "watch", "run_id": "nobody", "after": -1}, 400, "after"),
    ({"type": "watch", "run_id": "nobody", "after": "else:1"}, 404, None),
    ({"type": "cancel"}, 404, None),
    ({"type": "cancel", "workflow_id": "nobody"}, 404, None),
    ({"type": "response", "request_id": "r"}, 422, "response"),
    ({"type": "response", "response": 1}, 422, "request_id"),
    ({"type": "response", "request_id": "r\n", "response": 1}, 422, "request_id"),
    ({"type": "response", "request_id": "r", "response": 1, "workflow_id": "."}, 422, "workflow_id"),
    ({"type": "response", "request_id": "r", "response": 1}, 404, None),
    ({"type": "response", "request_id": "r", "response": 1, "workflow_id": "nobody"}, 404, None),
    ({"type": "workflow.response", "request_id": "r"}, 422, "response"),
    ({"type": "workflow.response", "request_id": "r", "response": {}}, 404, None),
    ({"type": "workflow.resume", "checkpoint_id": "c"}, 404, None),
    ({"type": "workflow.resume", "checkpoint_id": 5}, 422, "checkpoint_id"),
    ({"type": "workflow.resume", "run_id": ""}, 422, "run_id"),
]


@row(54)
async def test_a_bad_frame_is_answered_by_its_problem_and_the_socket_lives() -> None:
    async with site() as it, chat(it) as peer:
        for frame, status, field in BAD_FRAMES:
            await peer.say(frame)
            error = await peer.hear()
            assert (error["type"], error["data"]["status"]) == ("error", status), frame
            assert [each["field"] for each in error["data"]["errors"]] == ([field] if field else []), frame
            assert error["error"] and "id" not in error
        assert it.script.turns == []
        await peer.say({"type": "ping"})
        assert await peer.hear() == {"type": "pong"}


@row(54)
async def test_a_burst_of_frames_is_answered_in_order() -> None:
    async with site() as it, chat(it) as peer:
        for _ in range(300):
            await peer.say({"type": "ping"})
            await peer.say("{")
        answers = [(await peer.hear())["type"] for _ in range(600)]
        assert answers == ["pong", "error"] * 300


async def test_a_busy_conversation_and_a_full_service_are_errors_on_the_socket() -> None:
    async with site(think_for_ever, max_runs=1) as it, chat(it) as peer:
        run = await it.start()
        await peer.say({"message": "hi", "conversation_id": "other"})
        assert (await peer.hear())["data"]["type"] == "urn:agenticfleet:too-many-runs"
        await it.http.post(f"/api/v1/runs/{run['run_id']}/cancel")
        await peer.say({"message": "hi", "conversation_id": "other"})
        assert (await peer.hear())["type"] == "connected"


async def test_a_run_is_watched_once_per_socket() -> None:
    async with site(Paced()) as it, chat(it) as peer:
        run = await it.start()
        for _ in range(2):
            await peer.say({"type": "watch", "run_id": run["run_id"]})
        assert (await peer.hear())["type"] == "connected"
        assert (await peer.hear())["data"]["status"] == 409


async def test_a_socket_watches_a_bounded_number_of_runs() -> None:
    async with site(think_for_ever) as it, chat(it) as peer:
        for _ in range(WATCHED):
            await peer.say({"message": "hi"})
            assert (await peer.hear())["type"] == "connected"
        await peer.say({"message": "hi"})
        assert (await peer.hear())["data"]["status"] == 503
        assert it.runs.live == WATCHED


async def test_silence_is_filled_with_heartbeats() -> None:
    async with site(heartbeat=0.05) as it, chat(it) as peer:
        beat = json.loads(await peer.socket.recv())
        assert set(beat) == {"type", "category", "ui_hint", "timestamp"}
        assert beat["type"] == "heartbeat"


@row(53)
async def test_a_mute_peer_is_told_and_hung_up_on() -> None:
    async with site(first_frame=0.1) as it, chat(it) as peer:
        error = await peer.hear()
        assert (error["type"], error["error"]) == ("error", "No frame came within 0.1 s.")
        assert await peer.closed() == 1008


async def test_a_peer_that_has_spoken_may_be_silent() -> None:
    async with site(first_frame=2, heartbeat=0.5) as it, chat(it) as peer:
        await peer.say({"type": "ping"})
        assert await peer.hear() == {"type": "pong"}
        for _ in range(5):  # 2.5 s of silence
            assert json.loads(await peer.socket.recv())["type"] == "heartbeat"


@pytest.mark.parametrize("frame", ["x" * 1025, "\u00e9" * 513, b"x" * 1025])
async def test_a_frame_that_is_too_big_ends_the_socket(frame: str | bytes) -> None:
    async with site(max_body=1024) as it, chat(it) as peer:
        await peer.say(frame)
        assert await peer.closed() == 1009


@row(2)
async def test_a_peer_that_vanishes_stops_no_run_and_frees_its_place(caplog: pytest.LogCaptureFixture) -> None:
    script = Paced()
    async with site(script, max_streams=1) as it:
        async with chat(it) as peer:
            await peer.say({"message": "hi"})
            run = (await peer.hear())["workflow_id"]
            peer.socket.transport.abort()
        script.step(*"abc")
        script.finish()
        await it.runs.idle()
        assert (await it.get(f"/api/v1/runs/{run}"))["status"] == "completed"
        while (await it.http.get(f"/api/v1/runs/{run}/events")).status_code == 503:
            pass
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_run_asked_to_do_so_lives_as_long_as_its_socket() -> None:
    script = Paced()
    async with site(script, disconnect_grace=2, heartbeat=0.1) as it:
        async with chat(it) as peer:
            await peer.say({"message": "hi", "on_disconnect": "cancel"})
            run = (await peer.hear())["workflow_id"]
            for _ in range(25):  # 2.5 s
                assert json.loads(await peer.socket.recv())["type"] == "heartbeat"
        await script.left.wait()
        await it.runs.idle()
        assert (await it.get(f"/api/v1/runs/{run}"))["status"] == "cancelled"


@row(6)
async def test_a_peer_that_takes_no_bytes_is_cut_and_slows_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agentic_fleet")
    script = Paced()
    async with site(script, send_timeout=1) as it, chat(it, max_queue=1) as peer:
        await peer.say({"message": "hi"})
        run = (await peer.hear())["workflow_id"]
        script.step(*["x" * 60_000] * 200)
        script.finish()
        await it.runs.idle()
        assert len(await it.read(f"/api/v1/runs/{run}/events")) == 203
        while "cut a socket" not in caplog.text:
            await it.http.get("/health")
        assert await peer.closed() == 1013
        assert "Traceback" not in caplog.text


async def test_a_peer_that_takes_no_bytes_is_still_obeyed() -> None:
    script = Paced()
    async with site(script, heartbeat=0.05) as it, chat(it) as clock, chat(it, max_queue=1) as peer:
        try:
            await peer.say({"message": "hi"})
            run = (await peer.hear())["workflow_id"]
            script.step(*["x" * 60_000] * 200)
            for _ in range(20):  # a second: the other one's heart has long been due
                assert json.loads(await clock.socket.recv())["type"] == "heartbeat"
            await peer.say({"type": "cancel"})
            with anyio.fail_after(5):
                await it.runs.idle()
            assert (await it.get(f"/api/v1/runs/{run}"))["status"] == "cancelled"
        finally:
            peer.socket.transport.abort()  # a farewell would wait behind what it has not read


@row(51)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1"])
async def test_a_page_of_another_origin_is_refused_before_the_socket_opens(origin: str) -> None:
    async with site() as it:
        with pytest.raises(InvalidStatus) as refused:
            async with chat(it, origin=Origin(origin)):
                pass
        response = refused.value.response
        assert response.status_code == 403
        assert response.headers["content-type"] == "application/problem+json"
        assert json.loads(response.body or b"")["request_id"] == response.headers["x-request-id"]


@row(51)
async def test_pages_of_the_same_or_a_listed_origin_are_welcome() -> None:
    async with site(allowed_origins=("https://friend.example",)) as it:
        for origin in (None, it.url, "https://friend.example"):
            async with chat(it, origin=origin) as peer:
                await peer.say({"type": "ping"})
                assert await peer.hear() == {"type": "pong"}
                assert peer.socket.response and peer.socket.response.headers["x-request-id"]


@row(61)
async def test_one_socket_too_many_is_refused_before_it_opens() -> None:
    async with site(max_streams=1) as it, chat(it):
        with pytest.raises(InvalidStatus) as refused:
            async with chat(it):
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"] == "5"


async def test_what_nobody_expected_is_logged_once_and_ends_the_socket(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(run_id: str) -> None:
        raise ZeroDivisionError("the secret of the house")

    async with site() as it, chat(it) as peer:
        monkeypatch.setattr(it.runs, "cancel", fail)
        await peer.say({"type": "cancel", "workflow_id": "a"})
        assert await peer.closed() == 1011
        assert peer.socket.close_reason == "Something went wrong here."
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


async def test_a_server_that_leaves_says_restart_and_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    codes: list[int] = []
    ready = anyio.Event()

    async def stay(it: Site) -> None:
        async with chat(it) as peer:
            await peer.say({"message": "hi"})
            await peer.hear()
            ready.set()
            codes.append(await peer.closed())

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            async with site(Paced()) as it:
                tasks.start_soon(stay, it)
                await ready.wait()
    assert codes == [1012]
    assert "Traceback" not in caplog.text

"""People in the loop: a run asks, any consumer answers, every reader hears both."""

import json
from typing import Any

import pytest

from agentic_fleet.turns import Emit, Pause, PendingRequest, Result, Turn
from tests.faults.table import row
from tests.script import Paced, answer, token
from tests.web.peer import chat
from tests.web.site import Event, Reader, Site, site, types

ASKED: dict[str, Any] = {
    "request_id": "r1",
    "request_type": "ToolApproval",
    "request": {"tool": "shell", "arguments": ["ls \u2028"]},
}
ANY_JSON = [
    None,
    True,
    0,
    -0.5,
    2**70,
    "",
    "yes",
    'a "quoted" \u2028 \u0000 \U0001f600\nline',
    [],
    [1, [2, [None]]],
    {},
    {"approved": True, "é \U0001f600": {"": [{"deep": {}}]}},
    json.loads("[" * 63 + "]" * 63),
]


async def ask_first(turn: Turn, emit: Emit) -> Result | Pause:
    """Asks once, then answers with what the human said."""
    if "r1" not in turn.answers:
        return Pause(requests=(PendingRequest(**ASKED),))
    await emit(token("ok"))
    return answer(json.dumps(turn.answers["r1"]))


def path_of(run: Event) -> str:
    return f"/api/v1/runs/{run['run_id']}"


async def request_of(reader: Any) -> Event:
    """Everything up to the question, and the question: from a reader of either kind."""
    hear = reader.next if isinstance(reader, Reader) else reader.hear
    while (event := await hear()).get("kind") != "request":
        pass
    return dict(event)


async def waiting(it: Site, **ask: Any) -> Event:
    """A run that waits for a human."""
    run = await it.start(**ask)
    async with it.stream(path_of(run) + "/events") as reader:
        await request_of(reader)
    return run


async def respond(it: Site, run: Event, response: Any = True, request_id: str = "r1") -> int:
    body = {"request_id": request_id, "response": response}
    return (await it.http.post(path_of(run) + "/responses", json=body)).status_code


async def test_a_question_is_shown_answered_and_heard_by_every_reader() -> None:
    async with site(ask_first) as it:
        run = await it.start()
        async with it.stream(path_of(run) + "/events") as one, it.stream(path_of(run) + "/events?fields=lean") as other:
            asked = await request_of(one)
            assert (asked["type"], asked["message"]) == ("orchestrator.message", "Tool approval required")
            assert asked["data"] == (await request_of(other))["data"] == ASKED
            shown = await it.get(path_of(run))
            assert (shown["status"], shown["pending_requests"]) == ("waiting", [ASKED])
            assert await it.get("/api/v1/runs?status=waiting") == [shown]
            body = {"request_id": "r1", "response": {"approved": True}}
            answered = await it.http.post(path_of(run) + "/responses", json=body)
            assert (answered.status_code, answered.json()["pending_requests"]) == (200, [])
            assert answered.json()["run_id"] == run["run_id"]
            for reader in (one, other):
                heard = await reader.next()
                assert (heard["type"], heard["kind"]) == ("orchestrator.message", "response")
                assert heard["data"] == body
                assert types(await reader.rest()) == ["response.delta", "response.completed", "done"]
        ended = await it.get(path_of(run))
        assert (ended["status"], ended["pending_requests"]) == ("completed", [])


async def test_any_json_is_a_response_and_reaches_the_workflow_and_the_readers_as_it_is() -> None:
    async with site(ask_first) as it:
        for given in ANY_JSON:
            run = await waiting(it)
            assert await respond(it, run, given) == 200, given
            await it.runs.idle()
            events = await it.read(path_of(run) + "/events")
            assert [each["data"]["response"] for each in events if each.get("kind") == "response"] == [given]
            assert json.loads(events[-2]["message"]) == given


@row(24)
async def test_a_request_is_answered_once() -> None:
    async with site(ask_first) as it:
        run = await waiting(it)
        assert await respond(it, run, "first") == 200
        assert await respond(it, run, "second") == 409
        await it.runs.idle()
        assert await respond(it, run, "third") == 409
        assert (await it.read(path_of(run) + "/events"))[-2]["message"] == '"first"'


@row(25)
async def test_what_was_not_asked_cannot_be_answered() -> None:
    async with site(ask_first) as it:
        run = await waiting(it)
        assert await respond(it, run, request_id="r2") == 404
        assert await respond(it, {"run_id": "nobody"}) == 404
        assert await respond(it, {"run_id": "a.b"}) == 404
        assert (await it.get(path_of(run)))["status"] == "waiting"


@row(21)
async def test_a_run_that_was_cancelled_while_it_waited_takes_no_answer() -> None:
    async with site(ask_first) as it:
        run = await waiting(it)
        async with it.stream(path_of(run) + "/events") as reader:
            await request_of(reader)
            assert (await it.http.post(path_of(run) + "/cancel")).json()["status"] == "cancelled"
            assert types(await reader.rest()) == ["cancelled", "done"]
        assert await respond(it, run) == 409
        assert (await it.get(path_of(run)))["pending_requests"] == []


BAD_ANSWERS: list[tuple[Any, str]] = [
    ({}, "request_id"),
    ({"response": 1}, "request_id"),
    ({"request_id": "r1"}, "response"),
    ({"request_id": 5, "response": 1}, "request_id"),
    ({"request_id": "", "response": 1}, "request_id"),
    ({"request_id": "../etc", "response": 1}, "request_id"),
    ({"request_id": "x" * 65, "response": 1}, "request_id"),
    ([], "body"),
]


async def test_a_bad_answer_is_refused_with_the_name_of_the_field() -> None:
    async with site(ask_first) as it:
        run = await waiting(it)
        chat_path = f"/api/chat/{run['conversation_id']}/respond?workflow_id={run['run_id']}"
        for path in (path_of(run) + "/responses", chat_path):
            for body, field in BAD_ANSWERS:
                refused = await it.http.post(path, json=body)
                assert refused.status_code == 422, (path, body)
                assert refused.headers["content-type"] == "application/problem+json"
                assert [each["field"] for each in refused.json()["errors"]] == [field], (path, body)
            assert (await it.http.post(path)).status_code == 422
            deep = b'{"request_id": "r1", "response": ' + b"[" * 64 + b"]" * 64 + b"}"
            refused = await it.http.post(path, content=deep, headers={"content-type": "application/json"})
            assert refused.status_code == 400
        unknown = {"request_id": "r1", "response": 1, "approved": True}
        refused = await it.http.post(path_of(run) + "/responses", json=unknown)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "approved")
        assert (await it.get(path_of(run)))["pending_requests"] == [ASKED]


async def test_an_answer_may_be_as_large_as_a_body() -> None:
    async with site(ask_first, max_body=4096) as it:
        run = await waiting(it)
        assert await respond(it, run, "x" * 4096) == 413
        assert await respond(it, run, "x" * 4000) == 200


async def test_the_chat_form_of_an_answer_names_the_run_and_its_conversation() -> None:
    async with site(ask_first) as it:
        run = await waiting(it)
        path, query = f"/api/chat/{run['conversation_id']}/respond", {"workflow_id": run["run_id"]}
        body = {"request_id": "r1", "response": None, "whatever": 1}
        assert (await it.http.post("/api/chat/other/respond", params=query, json=body)).status_code == 404
        assert (await it.http.post(path, params={"workflow_id": "nobody"}, json=body)).status_code == 404
        assert (await it.http.post(path, json=body)).status_code == 422
        assert (await it.http.post(path, params=query, json={**body, "request_id": "r2"})).status_code == 404
        done = await it.http.post(path, params=query, json=body)
        assert (done.status_code, done.json()) == (200, {"status": "ok", "request_id": "r1"})
        assert (await it.http.post(path, params=query, json=body)).status_code == 409


async def test_while_a_human_thinks_every_reader_gets_heartbeats() -> None:
    async with site(ask_first, heartbeat=0.05) as it, chat(it) as peer:
        run = await waiting(it)
        await peer.say({"type": "watch", "run_id": run["run_id"]})
        await request_of(peer)
        async with it.http.stream("GET", path_of(run) + "/events") as response:
            lines = response.aiter_lines()
            for _ in range(3):
                while '"heartbeat"' not in await anext(lines):
                    pass
                assert json.loads(await peer.socket.recv())["type"] == "heartbeat"
            assert await respond(it, run) == 200
            assert [line for line in [line async for line in lines] if '"done"' in line]
        assert types(await peer.until_done())[-2:] == ["response.completed", "done"]


async def test_a_repeated_question_of_a_browser_finds_the_waiting_run() -> None:
    async with site(ask_first) as it:
        async with it.stream("/api/chat/room/stream?message=hi") as first:
            asked = await request_of(first)
        async with it.stream("/api/chat/room/stream?message=hi") as again:
            assert await request_of(again) == asked
        other = await it.http.get("/api/chat/room/stream?message=else")
        assert other.status_code == 409


@pytest.mark.parametrize("word", ["response", "workflow.response"])
async def test_a_socket_answers_the_run_it_watches_without_naming_it(word: str) -> None:
    async with site(ask_first) as it, chat(it) as peer:
        await peer.say({"type": "task", "message": "hi"})
        assert (await request_of(peer))["data"] == ASKED
        await peer.say({"type": word, "request_id": "r1", "response": [None]})
        events = await peer.until_done()
        assert (events[0]["kind"], events[0]["data"]["response"]) == ("response", [None])
        assert types(events[1:]) == ["response.delta", "response.completed", "done"]


async def test_a_second_socket_answers_for_the_first() -> None:
    async with site(ask_first) as it, chat(it) as first, chat(it) as second:
        await first.say({"message": "hi"})
        run = (await request_of(first))["workflow_id"]
        said = {"type": "response", "request_id": "r1", "response": "by another"}
        await second.say(said)
        assert (await second.hear())["data"]["status"] == 404  # it watches no run that asks
        await second.say({**said, "workflow_id": run})
        events = await first.until_done()
        assert (events[0]["data"]["response"], events[-2]["message"]) == ("by another", '"by another"')
        await second.say({"type": "ping"})
        assert await second.hear() == {"type": "pong"}


async def test_an_answer_finds_its_run_among_those_that_a_socket_watches() -> None:
    async with site() as it, chat(it) as peer:

        async def ask_by_name(turn: Turn, emit: Emit) -> Result | Pause:
            request = PendingRequest(request_id=turn.ask.message, request_type="UserInput", request="Well?")
            return answer("") if turn.answers else Pause(requests=(request,))

        it.script.act = ask_by_name
        runs = {}
        for name in ("a", "b", "c"):
            await peer.say({"message": name})
            asked = await request_of(peer)
            assert asked["message"] == "User input required"
            runs[name] = asked["workflow_id"]
        for name in ("b", "a", "c"):
            await peer.say({"type": "response", "request_id": name, "response": name})
            assert {event["workflow_id"] for event in await peer.until_done()} == {runs[name]}


async def test_a_second_answer_on_a_socket_is_a_conflict_and_a_wrong_one_is_not_found() -> None:
    paced = Paced()

    async def ask_then_work(turn: Turn, emit: Emit) -> Result | Pause:
        return await (paced if turn.answers else ask_first)(turn, emit)

    async with site(ask_then_work) as it, chat(it) as peer:
        await peer.say({"message": "hi"})
        run = (await request_of(peer))["workflow_id"]
        await peer.say({"type": "response", "request_id": "r1", "response": 1})
        assert (await peer.hear())["kind"] == "response"
        for named in ({}, {"workflow_id": run}):
            await peer.say({"type": "response", "request_id": "r1", "response": 2, **named})
            assert (await peer.hear())["data"]["status"] == 409
            await peer.say({"type": "response", "request_id": "r2", "response": 2, **named})
            assert (await peer.hear())["data"]["status"] == 404
        paced.finish()
        assert types(await peer.until_done()) == ["response.completed", "done"]

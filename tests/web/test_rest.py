"""The JSON endpoints: shapes, states, refusals that belong to a thing's state."""

import re

import pytest

from agentic_fleet.conversations import Conversation
from agentic_fleet.turns import Ask
from tests.faults.table import row
from tests.script import Paced
from tests.web.site import site, types

JSON = "application/json; charset=utf-8"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_conversation_can_be_made_shown_listed_and_dropped() -> None:
    async with site() as it:
        made = await it.http.post("/api/v1/conversations", json={"title": "Haiku \u2028 \U0001f600"})
        assert made.status_code == 201
        conversation = made.json()
        assert set(conversation) == {"id", "conversation_id", "title", "created_at", "updated_at", "messages"}
        assert TIME.fullmatch(conversation["created_at"])
        assert made.text.isascii()
        path = f"/api/v1/conversations/{conversation['id']}"
        assert await it.get(path) == conversation
        assert await it.get("/api/v1/conversations") == [conversation]
        assert (await it.http.delete(path)).status_code == 204
        assert (await it.http.get(path)).status_code == 404
        assert (await it.http.delete(path)).status_code == 404


async def test_a_conversation_can_be_renamed_and_keeps_its_place() -> None:
    async with site() as it:
        for at, id in ((1, "old"), (2, "new")):
            await it.store.add_conversation(Conversation(id=id, title="T", created_at=0, updated_at=at))
        renamed = await it.http.patch("/api/v1/conversations/old", json={"title": "Haiku \u2028 \U0001f600"})
        assert (renamed.status_code, renamed.json()["title"]) == (200, "Haiku \u2028 \U0001f600")
        assert await it.get("/api/v1/conversations/old") == renamed.json()
        assert [each["id"] for each in await it.get("/api/v1/conversations")] == ["new", "old"]
        assert (await it.http.patch("/api/v1/conversations/none", json={"title": "T"})).status_code == 404


@pytest.mark.parametrize("body", [{}, {"title": ""}, {"title": " "}, {"title": "T" * 201}, {"title": "T", "id": "x"}])
async def test_a_conversation_is_renamed_to_a_title_and_nothing_else(body: dict[str, str]) -> None:
    async with site() as it:
        id = (await it.http.post("/api/v1/conversations")).json()["id"]
        refused = await it.http.patch(f"/api/v1/conversations/{id}", json=body)
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:agenticfleet:invalid-request")
        assert (await it.get(f"/api/v1/conversations/{id}"))["title"] == "New Chat"


async def test_a_conversation_needs_no_body_and_gets_a_title() -> None:
    async with site() as it:
        assert (await it.http.post("/api/v1/conversations")).json()["title"] == "New Chat"


async def test_the_newest_conversation_comes_first_and_pages_are_cut() -> None:
    async with site() as it:
        for at, id in ((2, "b"), (3, "a"), (1, "c")):
            await it.store.add_conversation(Conversation(id=id, title="T", created_at=0, updated_at=at))
        assert [each["id"] for each in await it.get("/api/v1/conversations?limit=2")] == ["a", "b"]
        assert [each["id"] for each in await it.get("/api/v1/conversations?limit=2&offset=2")] == ["c"]


async def test_a_run_is_accepted_located_and_answered() -> None:
    async with site() as it:
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        answer = await it.http.post(f"/api/v1/conversations/{conversation}/runs", json={"message": "one two"})
        assert answer.status_code == 202
        started = answer.json()
        assert answer.headers["location"] == f"/api/v1/runs/{started['run_id']}"
        await it.runs.idle()
        run = await it.get(answer.headers["location"])
        assert run["status"] == "completed"
        assert run["task"] == "one two"
        assert run["workflow_id"] == run["run_id"] == started["run_id"]
        assert run["last_event_id"] == f"{run['run_id']}:5"
        assert run["pending_requests"] == []
        assert run["quality_score"] == 8.0
        assert all(TIME.fullmatch(run[name]) for name in ("created_at", "started_at", "completed_at"))
        messages = (await it.get(f"/api/v1/conversations/{conversation}"))["messages"]
        assert [(each["role"], each["content"]) for each in messages] == [
            ("user", "one two"),
            ("assistant", "one two "),
        ]
        assert messages[1]["workflow_id"] == run["run_id"]


async def test_every_wish_of_a_question_reaches_the_workflow() -> None:
    wishes = {
        "reasoning_effort": "minimal",
        "enable_checkpointing": False,
        "on_disconnect": "cancel",
        "require_plan_approval": True,
    }
    async with site() as it:
        for mode in ("auto", "fast", "delegated", "sequential", "parallel", "handoff", "discussion"):
            run = await it.start("hi", mode=mode, **wishes)
            events = await it.read(f"/api/v1/runs/{run['run_id']}/events")
            assert events[0]["data"]["checkpointing_enabled"] is False
            assert run["mode"] == mode
            assert it.script.turns[-1].ask == Ask(message="hi", mode=mode, **wishes)  # type: ignore[arg-type]


async def test_runs_are_listed_by_status_and_conversation() -> None:
    async with site() as it:
        first, second = await it.finished(), await it.finished()
        listed = await it.get("/api/v1/runs")
        assert {run["run_id"] for run in listed} == {first["run_id"], second["run_id"]}
        assert await it.get("/api/v1/runs?status=completed&limit=1&offset=1") == listed[1:]
        assert await it.get("/api/v1/runs?status=running") == []
        assert await it.get(f"/api/v1/runs?conversation_id={first['conversation_id']}") == [first]


async def test_a_conversation_has_one_live_run() -> None:
    async with site(Paced()) as it:
        run = await it.start()
        refused = await it.http.post(f"/api/v1/conversations/{run['conversation_id']}/runs", json={"message": "again"})
        assert refused.status_code == 409
        assert refused.json()["type"] == "urn:agenticfleet:conflict"


async def test_one_run_too_many_is_refused_with_a_time_to_come_back() -> None:
    async with site(Paced(), max_runs=1) as it:
        await it.start()
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        refused = await it.http.post(f"/api/v1/conversations/{conversation}/runs", json={"message": "hello"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["title"] == "Too many runs"


@row(18)
async def test_a_cancelled_run_comes_back_final_and_stays_so() -> None:
    async with site(Paced()) as it:
        run = await it.start()
        path = f"/api/v1/runs/{run['run_id']}"
        first = await it.http.post(path + "/cancel")
        assert (first.status_code, first.json()["status"]) == (200, "cancelled")
        assert (await it.http.post(path + "/cancel", json={})).json() == first.json()
        assert types(await it.read(path + "/events"))[-2:] == ["cancelled", "done"]


async def test_dropping_a_conversation_cancels_its_run() -> None:
    script = Paced()
    async with site(script) as it:
        run = await it.start()
        await script.started.wait()
        assert (await it.http.delete(f"/api/v1/conversations/{run['conversation_id']}")).status_code == 204
        await script.left.wait()
        assert (await it.http.get(f"/api/v1/runs/{run['run_id']}")).status_code == 404


async def test_the_chat_form_of_cancel_names_the_run_and_its_conversation() -> None:
    async with site(Paced()) as it:
        run = await it.start()
        path = f"/api/chat/{run['conversation_id']}/cancel"
        assert (await it.http.post("/api/chat/other/cancel", params={"workflow_id": run["run_id"]})).status_code == 404
        assert (await it.http.post(path, params={"workflow_id": "nobody"})).status_code == 404
        assert (await it.http.post(path, params={"workflow_id": "../etc"})).status_code == 404
        assert (await it.http.post(path)).status_code == 422
        done = await it.http.post(path, params={"workflow_id": run["run_id"], "whatever": 1})
        assert done.json() == {"status": "cancelled", "workflow_id": run["run_id"]}


@row(40)
async def test_the_same_idempotency_key_starts_one_run() -> None:
    async with site() as it:
        conversation = (await it.http.post("/api/v1/conversations")).json()["id"]
        path, headers = f"/api/v1/conversations/{conversation}/runs", {"Idempotency-Key": "abc"}
        first = await it.http.post(path, json={"message": "hello"}, headers=headers)
        await it.runs.idle()
        again = await it.http.post(path, content=b' {"message" :"hello"}', headers={**headers, "content-type": JSON})
        assert again.json()["run_id"] == first.json()["run_id"]
        assert len(it.script.turns) == 1
        other = await it.http.post(path, json={"message": "else"}, headers=headers)
        assert (other.status_code, other.json()["title"]) == (422, "Idempotency key reused")


async def test_a_page_of_events_says_where_to_go_on_and_whether_that_is_the_end() -> None:
    async with site() as it:
        run = await it.finished()
        path = f"/api/v1/runs/{run['run_id']}/events"
        page = (await it.http.get(path, params={"limit": 2}, headers={"Accept": "application/json"})).json()
        assert [event["id"] for event in page["events"]] == [f"{run['run_id']}:1", f"{run['run_id']}:2"]
        assert (page["last_event_id"], page["ended"]) == (f"{run['run_id']}:2", False)
        query = {"after": page["last_event_id"], "fields": "lean"}
        rest = (await it.http.get(path, params=query, headers={"Accept": "application/json"})).json()
        assert types(rest["events"])[-1] == "done"
        assert "timestamp" not in rest["events"][0]
        assert (rest["last_event_id"], rest["ended"]) == (run["last_event_id"], True)


async def test_the_team_is_listed_with_the_tools_that_do_not_work() -> None:
    async with site() as it:
        assert await it.get("/api/v1/agents") == [
            {
                "name": "writer",
                "description": "Writes.",
                "type": "agent",
                "tools": ["look", "count"],
                "unavailable_tools": {"look": "Set LOOK_KEY."},
                "model": "fake",
            }
        ]

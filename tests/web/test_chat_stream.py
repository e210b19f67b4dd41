"""GET /api/chat/{id}/stream starts runs, and browsers repeat GETs on their own."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from agentic_fleet.events import now
from agentic_fleet.turns import RunState
from tests.script import Paced, echo
from tests.web.site import Site, seqs, site, types

PATH = "/api/chat/room/stream"


def asking(message: str, **more: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"message": message, **more}.items())
    return f"{PATH}?{query}"


async def questions(it: Site) -> list[str]:
    messages = (await it.get("/api/v1/conversations/room"))["messages"]
    return [each["content"] for each in messages if each["role"] == "user"]


async def test_a_question_in_an_unknown_conversation_makes_it() -> None:
    async with site() as it:
        events = await it.read(asking("hi", reasoning_effort="maximal", enable_checkpointing="true", stream="1"))
        assert types(events)[0] == "connected"
        assert events[0]["data"]["conversation_id"] == "room"
        assert events[0]["data"]["checkpointing_enabled"] is True
        assert types(events)[-2:] == ["response.completed", "done"]
        turn = it.script.turns[0]
        assert (turn.ask.message, turn.ask.reasoning_effort, turn.ask.on_disconnect) == ("hi", "maximal", "continue")


async def test_wishes_stand_in_the_query() -> None:
    async with site() as it:
        await it.read(asking("hi", mode="discussion", require_plan_approval="true", enable_checkpointing="0"))
        ask = it.script.turns[0].ask
        assert (ask.mode, ask.require_plan_approval, ask.enable_checkpointing) == ("discussion", True, False)


async def test_a_repeated_get_while_the_run_lives_watches_it_from_the_start() -> None:
    script = Paced()
    async with site(script) as it:
        async with it.stream(asking("hi")) as first:
            started = await first.next()
            async with it.stream(asking("hi")) as second:
                assert await second.next() == started
                script.finish()
                assert types(await second.rest()) == types(await first.rest()) == ["response.completed", "done"]
        assert await questions(it) == ["hi"]


async def test_a_reconnect_with_a_position_resumes_and_starts_nothing() -> None:
    script = Paced()
    async with site(script) as it:
        async with it.stream(asking("hi")) as first:
            position = (await first.next())["id"]
        script.step("a")
        script.finish()
        rest = await it.read(asking("hi"), {"Last-Event-ID": position})
        assert seqs(rest) == [2, 3, 4]
        end = await it.http.get(asking("hi"), headers={"Last-Event-ID": rest[-1]["id"]})
        assert end.status_code == 204
        assert await questions(it) == ["hi"]


async def test_an_answer_that_nobody_read_to_its_end_is_shown_again_once() -> None:
    script = Paced()
    async with site(script) as it:
        async with it.stream(asking("hi")) as first:
            started = await first.next()
        script.finish()
        await it.runs.idle()
        again = await it.read(asking("hi"))
        assert again[0] == started
        assert types(again) == ["connected", "response.completed", "done"]
        it.script.act = echo
        assert (await it.read(asking("hi")))[0]["id"] != started["id"]
        assert await questions(it) == ["hi", "hi"]


async def test_the_same_question_asked_after_its_answer_was_read_is_a_new_question() -> None:
    async with site() as it:
        runs = [(await it.read(asking("hi")))[0]["id"] for _ in range(3)]
        assert len(set(runs)) == 3


async def test_an_unread_answer_of_long_ago_is_no_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as it:
        conversation = await it.finished("hi")
        monkeypatch.setattr("agentic_fleet.web.sse.events.now", lambda: now() + 61_000)
        path = f"/api/chat/{conversation['conversation_id']}/stream?message=hi"
        assert (await it.read(path))[0]["workflow_id"] != conversation["run_id"]


async def test_another_question_while_a_run_lives_is_a_conflict() -> None:
    async with site(Paced()) as it:
        async with it.stream(asking("hi")) as first:
            await first.next()
            refused = await it.http.get(asking("ho"))
            assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")


async def test_twins_start_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(Paced()) as it:
        seen: list[str] = []
        look = it.store.runs

        async def look_slowly(**query: Any) -> list[RunState]:
            found = await look(**query)
            await anyio.lowlevel.checkpoint()  # all twins look before one starts
            return found

        monkeypatch.setattr(it.store, "runs", look_slowly)

        async def twin() -> None:
            async with it.stream(asking("hi")) as reader:
                seen.append((await reader.next())["id"])

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(twin)
        assert len(set(seen)) == 1
        assert await questions(it) == ["hi"]


async def test_a_position_in_another_conversation_is_not_found_and_a_bare_number_is_no_position() -> None:
    async with site() as it:
        other = await it.finished()
        wrong = await it.http.get(asking("hi"), headers={"Last-Event-ID": other["last_event_id"]})
        assert wrong.status_code == 404
        for bad in ("1", "room", "nobody:x"):
            assert (await it.http.get(asking("hi"), headers={"Last-Event-ID": bad})).status_code == 400
        assert (await it.http.get(asking("hi", after="1"))).status_code == 400
        assert (await it.http.get(asking("hi"), headers={"Last-Event-ID": "nobody:1"})).status_code == 404
        assert len(it.script.turns) == 1


async def test_head_starts_nothing() -> None:
    async with site() as it:
        assert (await it.http.head(asking("hi"))).status_code == 200
        assert it.script.turns == []


async def test_bad_questions_are_refused_without_a_stream() -> None:
    bad = ["", "message=", "message=%20%0a", f"message={'x' * 10_001}", "message=hi&mode=x"]
    bad += ["message=hi&reasoning_effort=huge", "message=hi&enable_checkpointing=2", "message=hi&fields=some"]
    bad += ["message=hi&require_plan_approval=maybe"]
    async with site() as it:
        for query in bad:
            answer = await it.http.get(f"{PATH}?{query}")
            assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), query
        assert it.script.turns == []


async def test_the_last_of_repeated_parameters_counts_here() -> None:
    async with site() as it:
        events = await it.read(f"{PATH}?message=no&message=yes&mode=fast&fields=lean")
        assert events[1]["delta"] == "yes "
        assert it.script.turns[0].ask.mode == "fast"

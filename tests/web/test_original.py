"""What the web UI of the original AgenticFleet relies on, through a page that behaves like it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.settings import Settings
from agentic_fleet.testing import Body, Reply, ScriptedModel, answer, running_fleet
from agentic_fleet.turns import Emit, Result, Turn
from tests import script
from tests.script import Act, Paced, asking, question, token
from tests.team import CHECKER, NOTE, helper_team
from tests.web.original import KNOWN, SILENCE, Event, Page, check
from tests.web.peer import chat
from tests.web.site import Site, site, types

JSON = {"Content-Type": "application/json"}
TEXT = "# Tides\n\n- \u201cquoted\u201d, \u00e9, \U0001f600, \u2028 and \u0085\n\n```py\nprint('\\n\")')\n```\r\n \t|"


async def new_page(it: Site) -> Page:
    made = await it.http.post("/api/v1/conversations", json={"title": "New Chat"})
    return Page(it.http, made.json()["conversation_id"])


async def until(events: AsyncIterator[Event], kind: str) -> Event:
    """The next event of this kind or type."""
    async for event in events:
        if kind in (event["type"], event.get("kind")):
            return event
    raise AssertionError(f"the stream ended without {kind}")


# conversations


async def test_conversations_are_bare_lists_of_what_the_sidebar_draws() -> None:
    async with site() as it:
        page = await new_page(it)
        (listed,) = await it.get("/api/v1/conversations?limit=25&offset=0")
        assert listed["conversation_id"] == page.conversation
        assert listed["title"] == "New Chat"
        assert isinstance(listed["updated_at"], str) and listed["messages"] == []
        assert await it.get("/api/v1/conversations?limit=25&offset=25") == []
        assert await it.get("/api/v1/conversations?") == [listed]


async def test_requests_without_a_body_may_say_that_it_is_json() -> None:
    async with site(Paced()) as it:
        page = await new_page(it)
        async with page.asking("hi") as events:
            await until(events, "connected")
            path = f"/api/chat/{page.conversation}/cancel?workflow_id={page.workflow}"
            assert (await it.http.post(path, headers=JSON)).status_code == 200
        gone = await it.http.delete(f"/api/v1/conversations/{page.conversation}", headers=JSON)
        assert (gone.status_code, gone.content) == (204, b"")


# the answer


async def test_the_streamed_answer_is_the_stored_one_as_soon_as_it_is_done() -> None:
    async def say(turn: Turn, emit: Emit) -> Result:
        for at in range(0, len(TEXT), 3):
            await emit(token(TEXT[at : at + 3]))
        return script.answer(TEXT)

    async with site(say) as it:
        page = await new_page(it)
        await page.ask("Tides?")
        streamed = "".join(event["delta"] for event in page.events if event["type"] == "response.delta")
        assert streamed == page.shown == TEXT
        question, stored = await page.stored()
        assert (question["role"], question["content"]) == ("user", "Tides?")
        assert (stored["role"], stored["content"], stored["quality_score"]) == ("assistant", TEXT, 8.0)
        assert stored["workflow_id"] == page.workflow
        await page.ask("And ebbs?")
        assert [each["role"] for each in await page.stored()] == ["user", "assistant"] * 2


async def test_the_words_of_the_answer_are_of_the_category_response() -> None:
    async with site() as it:
        page = await new_page(it)
        await page.ask("one two")
        told = [event for event in page.events if event["type"].startswith("response.")]
        assert {event["category"] for event in told} == {"response"}
        assert {event["ui_hint"]["component"] for event in told} == {"MessageBubble"}


async def test_a_fast_model_does_not_flood_the_page() -> None:
    words = [f"word{number} " for number in range(3000)]

    async def hurry(turn: Turn, emit: Emit) -> Result:
        for word in words:
            await emit(token(word))
        return script.answer("".join(words))

    async with site(hurry) as it:
        page = await new_page(it)
        await page.ask("hi")
        assert page.shown == "".join(words)
        assert types(page.events).count("response.delta") < 300
        assert "".join(event.get("delta", "") for event in page.events) == page.shown


async def test_two_conversations_answer_side_by_side() -> None:
    async with site() as it:
        pages = [await new_page(it) for _ in range(2)]
        async with anyio.create_task_group() as tasks:
            for number, page in enumerate(pages):
                tasks.start_soon(page.ask, f"question {number}")
        assert [page.shown for page in pages] == ["question 0 ", "question 1 "]


# endings


async def fail(turn: Turn, emit: Emit) -> Result:
    await emit(token("half an "))
    raise ModelFailed("The model broke off.")


async def crash(turn: Turn, emit: Emit) -> Result:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("act", "knobs", "ending"),
    [
        (script.echo, {}, "response.completed"),
        (fail, {}, "error"),
        (crash, {}, "error"),
        (Paced(), {"run_timeout": 0.1}, "error"),
        (asking(question("q1")), {"input_timeout": 0.1}, "suspended"),
    ],
    ids=["answered", "failed", "crashed", "late", "unanswered"],
)
async def test_every_stream_ends_with_done_also_after_an_error(act: Act, knobs: dict[str, Any], ending: str) -> None:
    async with site(act, **knobs) as it:
        page = await new_page(it)
        await page.ask("hi")
        assert types(page.events)[-2:] == [ending, "done"]
        assert page.over
        assert page.events[-2].get("error", "said")  # it is shown as it is, so it must not be empty
        assert [each["role"] for each in await page.stored()][1:] == ["assistant"] * (ending == "response.completed")


async def test_a_cancelled_stream_says_so_and_the_next_question_is_answered() -> None:
    async with site(Paced()) as it:
        page = await new_page(it)
        async with page.asking("hi") as events:
            await until(events, "connected")
            assert await page.cancel() == {"status": "cancelled", "workflow_id": page.workflow}
            await until(events, "cancelled")
        assert page.over
        it.script.act = script.echo
        await page.ask("hello")
        assert page.shown == "hello "


async def test_what_was_cancelled_is_asked_anew_by_who_asks_again() -> None:
    """The page closes its stream when it cancels, so that nobody may have heard the end."""
    async with site(Paced()) as it:
        page = await new_page(it)
        async with page.asking("hi") as events:
            await until(events, "connected")
        await page.cancel()
        it.script.act = script.echo
        await page.ask("hi")
        assert page.shown == "hi "
        assert len(it.script.turns) == 2


async def test_a_refused_question_is_a_status_with_words_to_show() -> None:
    async with site() as it:
        refused = await it.http.get("/api/chat/room/stream?message=")
        assert refused.status_code == 422
        assert isinstance(refused.json()["detail"], str)


# connections


def test_a_heartbeat_comes_well_before_the_page_gives_up() -> None:
    assert 2 * Settings().heartbeat <= SILENCE


async def test_silence_is_filled_with_heartbeats_that_the_page_can_hear() -> None:
    paced = Paced()
    async with site(paced, heartbeat=0.05) as it:
        page = await new_page(it)
        async with page.asking("hi") as events:
            await until(events, "connected")
            async with anyio.create_task_group() as tasks:

                async def speak_later() -> None:
                    await page.silent(3)
                    paced.step("word")
                    paced.finish()

                tasks.start_soon(speak_later)
                await until(events, "done")
        assert page.shown == "word"


async def test_the_same_url_opened_again_does_not_ask_again() -> None:
    paced = Paced()
    async with site(paced) as it:
        page = await new_page(it)
        async with page.asking("hi", reasoning_effort="minimal", enable_checkpointing="true") as events:
            first = await until(events, "connected")
        paced.step("one ", "two ")
        async with page.again() as events:
            assert await until(events, "connected") == first
            paced.step("three")
            paced.finish()
            await until(events, "done")
        assert page.shown == "one two three"
        assert [each["content"] for each in await page.stored()] == ["hi", "one two three"]
        assert len(it.script.turns) == 1


async def test_an_answer_that_came_while_the_page_was_away_is_shown_when_it_is_back() -> None:
    paced = Paced()
    async with site(paced) as it:
        page = await new_page(it)
        async with page.asking("hi") as events:
            await until(events, "connected")
        paced.step("word")
        paced.finish()
        await it.runs.idle()
        async with page.again() as events:
            await until(events, "done")
        assert page.shown == "word"
        assert len(it.script.turns) == 1


async def test_a_browser_that_reconnects_hears_exactly_what_it_has_missed() -> None:
    paced = Paced()
    async with site(paced) as it:
        page = await new_page(it)
        async with page.asking("hi") as events:
            await until(events, "connected")
            paced.step("one ")
            assert (await until(events, "response.delta"))["delta"] == "one "
        paced.step("two ")
        paced.finish()
        async with page.resumed() as events:
            await until(events, "done")
        assert [event.get("delta") for event in page.events] == ["two ", None, None]
        assert len(it.script.turns) == 1


async def test_a_page_of_a_listed_origin_may_stream_answer_and_cancel() -> None:
    """It is configured with the address of the service for the chat alone, and asks before it posts JSON."""
    origin = {"Origin": "https://pages.example"}
    async with site(allowed_origins=("https://pages.example",)) as it:
        for path in ("cancel", "respond"):
            asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
            may = await it.http.options(f"/api/chat/room/{path}?workflow_id=w", headers={**origin, **asked})
            assert may.status_code == 200
            assert "content-type" in may.headers["access-control-allow-headers"].lower()
        async with it.http.stream("GET", "/api/chat/room/stream?message=hi", headers=origin) as answered:
            assert answered.headers["access-control-allow-origin"] == "https://pages.example"
            assert await answered.aread()


# people


@pytest.mark.parametrize("response", ["blue", "", ["blue", "red"], [], {"approved": True}, {}, 7, None], ids=repr)
async def test_a_question_is_answered_with_text_a_list_or_an_object(response: Any) -> None:
    async with site(asking(question("q1"))) as it:
        page = await new_page(it)
        async with page.asking("Paint it") as events:
            asked = await until(events, "request")
            assert (asked["type"], asked["message"]) == ("orchestrator.message", "User input required")
            assert asked["data"]["request_type"] == "UserInput"
            assert await page.respond(asked["data"]["request_id"], response) == {"status": "ok", "request_id": "q1"}
            await until(events, "done")
        assert page.shown == f"Thinking. {response}"


async def test_a_question_stays_open_for_a_page_that_comes_back() -> None:
    async with site(asking(question("q1"))) as it:
        page = await new_page(it)
        async with page.asking("Paint it") as events:
            await until(events, "request")
        async with page.again() as events:
            await page.respond((await until(events, "request"))["data"]["request_id"], "blue")
            await until(events, "done")
        assert page.shown == "Thinking. blue"


# the socket


async def test_a_socket_takes_the_frames_of_the_original() -> None:
    """The question has no type; the others name no run: it is the socket's."""
    async with site(asking(question("q1"))) as it, chat(it) as peer:
        wishes = {"stream": True, "enable_checkpointing": True, "reasoning_effort": "medium"}
        await peer.say({"conversation_id": "room", "message": "Paint it", **wishes})
        while (event := await peer.hear()).get("kind") != "request":
            check(event)
        await peer.say({"type": "workflow.response", "request_id": "q1", "response": {"colour": "blue"}})
        events = await peer.until_done()
        assert [event["type"] for event in events][-2:] == ["response.completed", "done"]
        for event in events:
            check(event)
        it.script.act = Paced()
        await peer.say({"conversation_id": "room", "message": "Again"})
        assert (await peer.hear())["type"] == "connected"
        await peer.say({"type": "cancel"})
        assert [event["type"] for event in await peer.until_done()] == ["cancelled", "done"]


# the whole team


def takes_notes(body: Body) -> Reply:
    if "response_format" in body:
        return answer(body)
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    if not results:
        return Reply(tool_calls=[("note", json.dumps({"text": "milk"}))])
    return Reply(tokens=["It ", "is ", results[-1], "."])


async def test_the_page_shows_the_team_at_work_asks_for_approval_and_outlives_a_restart(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(helper_team("note", more=CHECKER + NOTE))
    async with ScriptedModel(takes_notes) as model:
        environ = {"NOTES": str(tmp_path / "notes.txt")}
        async with running_fleet(model, home=tmp_path, environ=environ, roster=tmp_path / "team.toml") as fleet:
            async with fleet.connection() as http:
                made = await http.post("/api/v1/conversations", json={"title": "New Chat"})
                page = Page(http, made.json()["conversation_id"])
                async with page.asking("Help me to write a note about milk, and check it well.") as events:
                    asked = await until(events, "request")
                    assert asked["message"] == "Tool approval required"
                    await page.respond(asked["data"]["request_id"], {"approved": True})
                    await until(events, "done")
                thoughts = {event["kind"]: event for event in page.events if event["type"] == "orchestrator.thought"}
                assert list(thoughts)[:5] == ["analysis", "routing", "execution", "progress", "quality"]
                assert {"complexity", "capabilities"} <= thoughts["analysis"]["data"].keys()
                assert {"assigned_to", "mode", "subtasks"} <= thoughts["routing"]["data"].keys()
                assert thoughts["progress"]["data"]["action"] in ("complete", "refine", "continue")
                assert thoughts["quality"]["data"]["score"] == thoughts["quality"]["quality_score"]
                assert {"agent.start", "agent.output", "agent.complete"} <= set(types(page.events)) & KNOWN
                assert page.shown == "It is noted." == (await page.stored())[-1]["content"]

                model.reply = Reply("Never said to the end", hang_after=2)
                async with page.asking("And now?") as events:
                    await until(events, "response.delta")
                    await fleet.kill()
            await fleet.restart()
            async with fleet.connection() as http:
                page = Page(http, page.conversation)
                await page.ask("And now?")
                assert types(page.events)[-2:] == ["error", "done"], "it is told of what became of its question"
                model.reply = "Here it is."
                await page.ask("And now?")
                assert page.shown == "Here it is."

"""A clock that jumps while the service runs: order is by number, and waiting is by another clock."""

import time
from pathlib import Path
from typing import Any

import pytest

from agentic_fleet import events
from tests.faults.table import row
from tests.script import Paced, asking, question
from tests.web.site import Event, site
from tests.web.test_contract import assert_whole

HOUR = 3600 * 10**9


class Clock:
    """In place of the module `time`, where events get theirs."""

    strftime, gmtime = staticmethod(time.strftime), staticmethod(time.gmtime)

    def __init__(self) -> None:
        self.off = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(events, "time", clock)
    return clock


@pytest.fixture(params=["sqlite", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"file": tmp_path / "fleet.db" if request.param == "sqlite" else None}


@row(66)
@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_a_run_neither_ends_nor_loses_its_order(clock: Clock, where: dict[str, Any], jump: int) -> None:
    paced = Paced()
    async with site(paced, run_timeout=600, heartbeat=0.05, **where) as it:
        run = await it.start()
        path = f"/api/v1/runs/{run['run_id']}/events"
        async with it.stream(path) as reader:
            seen: list[Event] = []
            for text in ("a", "b", "c"):
                paced.step(text)
                seen += await reader.until(text)
                clock.off += jump
            paced.finish()
            seen += await reader.rest()
        assert_whole(seen, run["run_id"])
        assert await it.read(path, {"Last-Event-ID": seen[2]["id"]}) == seen[3:]


@row(66)
@pytest.mark.parametrize("jump", [-HOUR, HOUR])
async def test_who_is_asked_is_waited_for_as_long_as_before(clock: Clock, where: dict[str, Any], jump: int) -> None:
    async with site(asking(question("q")), input_timeout=300, **where) as it:
        run = await it.start()
        path = f"/api/v1/runs/{run['run_id']}/events"
        async with it.stream(path) as reader:
            while (await reader.next()).get("kind") != "request":
                pass
            clock.off += jump
            body = {"request_id": "q", "response": "red"}
            assert (await it.http.post(f"/api/v1/runs/{run['run_id']}/responses", json=body)).status_code == 200
            assert [event["type"] for event in await reader.rest()][-2:] == ["response.completed", "done"]


@row(66)
async def test_a_browser_that_repeats_its_question_finds_the_run_that_began_after_the_clock_was_set_back(
    clock: Clock, where: dict[str, Any]
) -> None:
    paced = Paced()
    async with site(**where) as it:
        assert (await it.http.get("/api/chat/c1/stream?message=first")).status_code == 200
        clock.off -= HOUR
        it.script.act = paced
        async with it.stream("/api/chat/c1/stream?message=second") as reader:
            first = await reader.next()
        async with it.stream("/api/chat/c1/stream?message=second") as reader:
            assert (await reader.next())["id"] == first["id"]
            paced.finish()
            await reader.rest()
        said = [each["content"] for each in (await it.get("/api/v1/conversations/c1"))["messages"]]
        assert said == ["first", "first ", "second", ""]
        assert len(it.script.turns) == 2


@row(66)
async def test_a_clock_that_was_set_back_makes_no_old_answer_a_new_one(clock: Clock, where: dict[str, Any]) -> None:
    """That an answer is unread counts for a minute; it must not count for an hour."""
    async with site(**where) as it:
        run = await it.finished("hello")
        clock.off -= HOUR
        answer = await it.http.get(f"/api/chat/{run['conversation_id']}/stream?message=hello")
        assert answer.status_code == 200 and run["run_id"] not in answer.text

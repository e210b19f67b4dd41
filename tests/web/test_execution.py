"""POST /api/v1/run: asks and waits, tells honestly how it ended, and leaves nothing behind that nobody knows."""

from collections.abc import Sequence
from typing import Any

import anyio
import httpx
import pytest

from agentic_fleet.errors import ModelFailed, StoreFailed
from agentic_fleet.events import Record, StreamEvent, StreamEventType
from agentic_fleet.runs import Watch
from agentic_fleet.turns import Emit, Result, Turn
from tests.script import Paced, answer, asking, question, token
from tests.web.site import Event, Site, site

ROUTING = {"mode": "delegated", "agents": ["writer"], "reason": "It is a task for writing."}


def thought(kind: str, **data: Any) -> StreamEvent:
    return StreamEvent(type=StreamEventType.ORCHESTRATOR_THOUGHT, kind=kind, message="...", data=data)


async def team(turn: Turn, emit: Emit) -> Result:
    """Works as the team does, in two rounds of which the first was the better one."""
    await emit(thought("analysis", complexity="simple"))
    await emit(thought("routing", **ROUTING))
    for score, missing in ((5.5, "a source"), (4.0, "everything")):
        await emit(token(turn.ask.message))
        await emit(thought("quality", score=score, missing=missing))
    return answer(turn.ask.message, 5.5)


async def fail(turn: Turn, emit: Emit) -> Result:
    await emit(thought("routing", **ROUTING))
    await emit(token("half an ans"))
    raise ModelFailed("The model broke off.")


async def run(it: Site, **body: Any) -> Event:
    answered = await it.http.post("/api/v1/run", json={"task": "say it", **body})
    assert answered.status_code == 200, answered.text
    told: Event = answered.json()
    assert set(told) == {"result", "status", "execution_id", "routing", "quality", "metadata"}
    assert told["metadata"] == await it.get(f"/api/v1/runs/{told['execution_id']}")
    assert told["status"] == told["metadata"]["status"]
    return told


async def test_the_answer_comes_with_what_the_team_found() -> None:
    async with site(team) as it:
        told = await run(it)
        assert (told["result"], told["status"], told["routing"]) == ("say it", "completed", ROUTING)
        assert told["quality"] == {"score": 5.5, "missing": "a source"}, "of the version that is the answer"
        assert told["metadata"]["quality_score"] == 5.5


async def test_a_run_whose_phases_say_nothing_has_no_routing_and_no_quality() -> None:
    async with site() as it:
        told = await run(it)
        assert (told["result"], told["routing"], told["quality"]) == ("say it ", None, None)


async def test_wishes_reach_the_run() -> None:
    async with site() as it:
        await run(it, mode="parallel", reasoning_effort="minimal")
        await run(it, mode="standard")
        first, second = [turn.ask for turn in it.script.turns]
        assert (first.message, first.mode, first.reasoning_effort) == ("say it", "parallel", "minimal")
        assert (second.mode, second.reasoning_effort) == ("auto", None)


async def test_a_failed_run_is_an_answer_that_says_so() -> None:
    async with site(fail) as it:
        told = await run(it)
        assert (told["result"], told["status"], told["routing"]) == (None, "failed", ROUTING)
        assert told["metadata"]["error"] == "The model broke off."


async def test_a_run_that_somebody_cancels_is_an_answer_that_says_so() -> None:
    script = Paced()
    async with site(script) as it:
        told: list[Event] = []

        async def ask() -> None:
            told.append(await run(it))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await script.started.wait()
            (live,) = await it.get("/api/v1/runs")
            await it.http.post(f"/api/v1/runs/{live['run_id']}/cancel")
        assert [(each["status"], each["result"]) for each in told] == [("cancelled", None)]


async def test_a_service_that_stops_tells_that_the_run_was_interrupted() -> None:
    script = Paced()
    async with site(script) as it:
        told: list[Event] = []

        async def ask() -> None:
            told.append(await run(it))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await script.started.wait()
            it.runs.stop()
        assert [(each["status"], each["result"]) for each in told] == [("interrupted", None)]


async def test_a_run_that_asks_a_human_is_answered_at_once_and_goes_on_with_the_answer() -> None:
    async with site(asking(question("q1")), disconnect_grace=0) as it:
        told = await run(it)
        assert (told["status"], told["result"]) == ("waiting", None)
        assert [each["request_id"] for each in told["metadata"]["pending_requests"]] == ["q1"]
        path = f"/api/v1/runs/{told['execution_id']}"
        answered = await it.http.post(path + "/responses", json={"request_id": "q1", "response": "blue"})
        assert answered.status_code == 200
        await it.runs.idle()
        assert (await it.get(path))["status"] == "completed"


async def test_a_client_that_leaves_takes_its_run_along() -> None:
    script = Paced()
    async with site(script, disconnect_grace=3600) as it:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, it)
            await script.started.wait()
            tasks.cancel_scope.cancel()
        await it.runs.idle()
        assert script.left.is_set()
        (left,) = await it.get("/api/v1/runs")
        assert left["status"] == "cancelled"


async def test_a_run_that_cannot_be_followed_is_no_success_and_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(watch: Watch) -> Sequence[Record]:
        raise StoreFailed("The disk is full.")

    async with site(Paced()) as it:
        monkeypatch.setattr(Watch, "next", broken)
        refused = await it.http.post("/api/v1/run", json={"task": "say it"})
        assert (refused.status_code, refused.json()["detail"]) == (503, "The disk is full.")
        assert [each["status"] for each in await it.get("/api/v1/runs")] == ["cancelled"]


async def test_what_does_not_begin_is_refused() -> None:
    async with site(Paced(), max_runs=1) as it:
        await it.start()
        full = await it.http.post("/api/v1/run", json={"task": "say it"})
        assert (full.status_code, full.headers["content-type"]) == (503, "application/problem+json")
        assert int(full.headers["retry-after"]) > 0
        assert len(await it.get("/api/v1/runs")) == 1


async def test_a_bad_task_is_refused_with_the_name_of_the_field() -> None:
    bad: list[dict[str, Any]] = [{}, {"task": ""}, {"task": " \n\u2003"}, {"task": "x" * 10_001}, {"task": 5}]
    async with site() as it:
        for body in bad:
            assert field_of(await it.http.post("/api/v1/run", json=body)) == "task", body
        for name, value in (("mode", "chaos"), ("reasoning_effort", "huge"), ("additional_context", {})):
            refused = await it.http.post("/api/v1/run", json={"task": "say it", name: value})
            assert field_of(refused) == name
        assert it.script.turns == []


def field_of(refused: httpx.Response) -> str:
    assert refused.status_code == 422
    (error,) = refused.json()["errors"]
    return str(error["field"])


async def test_the_run_is_listed_and_its_conversation_of_one_question_is_not() -> None:
    async with site() as it:
        told = await run(it)
        assert [each["run_id"] for each in await it.get("/api/v1/runs")] == [told["execution_id"]]
        assert await it.get("/api/v1/conversations") == []
        kept = await it.get(f"/api/v1/conversations/{told['metadata']['conversation_id']}")
        assert [each["content"] for each in kept["messages"]] == ["say it", "say it "]

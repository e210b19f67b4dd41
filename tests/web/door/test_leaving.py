"""A client that leaves ends its run, streamed or not; a service that leaves says so."""

from typing import Any, NoReturn

import anyio
import pytest

from agentic_fleet.errors import StoreFailed
from agentic_fleet.runs.log import RunLog
from agentic_fleet.turns import RunStatus
from tests.script import Paced
from tests.web.door.guest import content, guest, user
from tests.web.site import Site, site

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    ("/v1/responses", {"input": "hi"}),
]


async def status_at_last(it: Site) -> RunStatus:
    await it.runs.idle()
    (run,) = await it.store.runs(limit=9)
    return run.status


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_reader_that_leaves_its_stream_cancels_the_run(path: str, body: dict[str, Any]) -> None:
    async with site(script := Paced(), heartbeat=600) as it:
        async with it.http.stream("POST", path, json={"model": "fleet", "stream": True, **body}) as answer:
            assert answer.status_code == 200
            await script.started.wait()
            script.step("x")
        await script.left.wait()
        assert await status_at_last(it) is RunStatus.CANCELLED


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_a_client_that_does_not_wait_for_its_whole_answer_cancels_the_run(
    path: str, body: dict[str, Any]
) -> None:
    async with site(script := Paced()) as it:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await it.http.post(path, json={"model": "fleet", **body})

            tasks.start_soon(ask)
            await script.started.wait()
            tasks.cancel_scope.cancel()
        await script.left.wait()
        assert await status_at_last(it) is RunStatus.CANCELLED


async def test_a_client_that_has_its_answer_cancels_nothing() -> None:
    async with site() as it:
        client = guest(it)
        await client.chat.completions.create(model="fleet", messages=user("hi"))
        async for _ in await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True):
            pass
        await it.runs.idle()
        assert {run.status for run in await it.store.runs(limit=9)} == {RunStatus.COMPLETED}


async def test_a_reader_that_takes_nothing_is_cut_and_its_run_cancelled() -> None:
    async with site(script := Paced(), send_timeout=0.2, heartbeat=600) as it:
        body = {"model": "fleet", "stream": True, **REQUESTS[0][1]}
        async with it.http.stream("POST", REQUESTS[0][0], json=body):
            await script.started.wait()
            for _ in range(100):
                script.step("x" * 100_000)
            await script.left.wait()
        assert await status_at_last(it) is RunStatus.CANCELLED


async def test_a_stream_whose_service_stops_ends_with_an_error() -> None:
    async with site(script := Paced()) as it:
        body = {"model": "fleet", "stream": True, **REQUESTS[0][1]}
        async with it.http.stream("POST", REQUESTS[0][0], json=body) as answer:
            await script.started.wait()
            it.runs.stop()
            text = (await answer.aread()).decode()
        assert '"code":"run_interrupted"' in text and "[DONE]" not in text
        assert await status_at_last(it) is RunStatus.INTERRUPTED


async def test_one_client_that_leaves_takes_nobody_along() -> None:
    async with site(script := Paced()) as it:
        client = guest(it)
        first = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        other = Paced()
        it.script.act = other
        second = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        await first.close()
        await script.left.wait()
        other.step("still ", "here")
        other.finish()
        assert content([chunk async for chunk in second]) == "still here"


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_cannot_be_read_any_more_is_told_as_such_and_its_run_cancelled(
    monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    async def broken(log: RunLog, after: int) -> NoReturn:
        raise StoreFailed("The disk is full.")

    monkeypatch.setattr(RunLog, "read", broken)
    async with site(Paced()) as it:
        body = {"model": "fleet", "stream": streamed, **REQUESTS[0][1]}
        answer = await it.http.post(REQUESTS[0][0], json=body)
        assert answer.status_code == (200 if streamed else 503)
        assert "The disk is full." in answer.text
        assert await status_at_last(it) is RunStatus.CANCELLED

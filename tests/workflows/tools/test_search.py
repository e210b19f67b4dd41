"""Tavily's API, by a server of its shape."""

import json
from typing import Any

import pytest

from agentic_fleet.testing.server import serving
from agentic_fleet.workflows.tools.search import MAX_SNIPPET, open_search
from agentic_fleet.workflows.tools.spec import ToolFailed


class Tavily:
    def __init__(self, status: int, body: Any) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.requests: list[tuple[Any, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])
        self.requests.append((asked, dict(scope["headers"])[b"authorization"].decode()))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body})


async def search(tavily: Tavily) -> str:
    async with serving(tavily, lifespan="off") as url, open_search("k-1", address=f"{url}/search") as engine:
        return await engine.web_search("tides")


async def test_hits_come_as_a_numbered_list() -> None:
    hits = [{"title": f"T{n}", "url": f"https://x/{n}", "content": "c" * 2000, "score": 0.5} for n in range(9)]
    tavily = Tavily(200, {"query": "tides", "results": hits, "response_time": 1})
    found = (await search(tavily)).split("\n\n")
    assert len(found) == 5
    assert found[0] == f"1. T0\nhttps://x/0\n{'c' * MAX_SNIPPET}"
    assert tavily.requests == [({"query": "tides", "max_results": 5}, "Bearer k-1")]


async def test_no_hits_are_an_answer_too() -> None:
    assert await search(Tavily(200, {"results": []})) == "Nothing was found."


@pytest.mark.parametrize(("status", "body"), [(401, {"detail": "k-1"}), (200, b"<html>"), (200, {"results": 3})])
async def test_a_refusal_or_nonsense_is_a_failure_that_does_not_name_the_key(status: int, body: Any) -> None:
    async with serving(Tavily(status, body), lifespan="off") as url, open_search("k-1", address=url) as engine:
        with pytest.raises(ToolFailed) as failure:
            await engine.web_search("tides")
    assert "k-1" not in str(failure.value)


async def test_an_engine_that_is_down_is_a_failure() -> None:
    async with open_search("k-1", address="http://127.0.0.1:1/search") as engine:
        with pytest.raises(ToolFailed, match="could not be reached"):
            await engine.web_search("tides")

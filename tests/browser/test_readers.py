"""Event streams for strict readers: the same run, the same events, whatever the text holds."""

import json
from typing import Any

import anyio
import pytest
from playwright.async_api import Page

from agentic_fleet.testing import relay
from agentic_fleet.web import sse
from tests.browser import readers
from tests.browser.readers import Frame, Reader
from tests.edge.fronts import fronted
from tests.script import Paced
from tests.web.site import Event, Site, site

HOSTILE = {
    "line and paragraph separators": "a\u2028b\u2029c\u0085d",
    "line ends": "a\nb\rc\r\nd\n\ne",
    "other ends": "a\x0bb\x0cc\x1cd\x1ee",
    "fields": '\ndata: {"type":"done"}\n\nid: 9\nevent: error\nretry: 1\n: comment\n\n',
    "controls": "a\x00b\x1b[2Jc\x7fd",
    "emoji": "😀👩‍👩‍👧🇩🇪",
    "others": "äß漢字\ufeff\u200b\ufffe\U0010ffff",
    "quotes": '"\\"</script><!--',
    "nothing but spaces": "   ",
    "long": "x" * 100_000,
}
HALVES = {"half an emoji": "a\ud83d", "the other half": "\ude00b", "halves swapped": "\ude00\ud83d"}
TEXTS = [*HOSTILE.values(), *HALVES.values()]


@pytest.fixture(autouse=True)
def readers_are_installed() -> None:
    readers.check()


@pytest.fixture(autouse=True)
def sources_reconnect_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before this line has come they wait for 3 s."""
    monkeypatch.setattr(sse, "RETRY", b"retry: 20\n")


async def truth(it: Site, run_id: str) -> list[Frame]:
    """The events as the service keeps them, without any stream."""
    page = await it.http.get(f"/api/v1/runs/{run_id}/events?limit=1000", headers={"Accept": "application/json"})
    events = [(event.pop("id"), event) for event in page.json()["events"]]
    return [(id, json.dumps(event)) for id, event in events]


def loaded(frames: list[Frame]) -> list[tuple[str, Event]]:
    return [(id, json.loads(data)) for id, data in frames]


fronts = pytest.mark.parametrize(("kind", "root"), [("direct", ""), ("nginx", "/fleet"), ("caddy", "/fleet")])


@fronts
async def test_all_readers_get_the_same_events_of_a_live_run(kind: str, root: str, page: Page) -> None:
    script = Paced()
    async with fronted(kind, root, script) as it:
        run = await it.start()
        url = f"{it.url}/api/v1/runs/{run['run_id']}/events"
        await page.goto(it.url + "/health")
        got: dict[str, list[Frame]] = {}

        async def read(name: str, reader: Reader) -> None:
            got[name] = await reader(url)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, "Chromium", readers.chromium(page))
            for reader in (readers.npm_eventsource, readers.httpx_sse, readers.curl, readers.unicode_lines):
                tasks.start_soon(read, reader.__name__, reader)
            script.step(*TEXTS)
            script.finish()
        expected = loaded(await truth(it, run["run_id"]))
        for name, frames in got.items():
            assert loaded(frames) == expected, name
        deltas = [event["delta"] for _, event in expected if event["type"] == "response.delta"]
        assert deltas == [*HOSTILE.values(), "a\ufffd", "\ufffdb", "\ufffd\ufffd"]
        assert len(got) == 5


CUTS = [0, 470, 500, 641, 777, 1_000, 1_001, 1_500, 4_000, 90_000, 150_000]
"""Bytes of an answer after which it is cut: none, in its first id, in texts, in the ending."""


@pytest.mark.parametrize("name", ["Chromium", "npm eventsource"])
async def test_a_source_that_is_cut_reconnects_by_itself_and_gets_each_event_once(name: str, page: Page) -> None:
    script = Paced()
    async with site(script) as it, relay(it.url) as between, anyio.create_task_group() as tasks:
        await page.goto(between.url + "/health")
        between.cut()  # a browser keeps connections
        between.cut_after = CUTS
        script.step(*TEXTS)

        async def end_it() -> None:
            await between.has_cut(len(CUTS) - 1)
            script.finish()

        tasks.start_soon(end_it)
        read = readers.chromium(page) if name == "Chromium" else readers.npm_eventsource
        frames = await read(between.url + "/api/chat/c1/stream?message=hello")
        runs = await it.get("/api/v1/runs")
        assert len(runs) == len(it.script.turns) == 1
        seen, expected = loaded(frames), loaded(await truth(it, runs[0]["run_id"]))
        assert joined(seen) == joined(expected)
        assert [id for id, _ in seen] == sorted({id for id, _ in seen}, key=lambda id: int(id.split(":")[1]))
        assert (seen[0], seen[-2:]) == (expected[0], expected[-2:])
        assert between.cuts == len(CUTS)


def joined(frames: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """What was told, whichever deltas the chat stream has made one event of."""
    told: list[tuple[str, str]] = []
    for _, event in frames:
        text = event.get("delta", "")
        if told and text and told[-1][0] == event["type"]:
            told[-1] = event["type"], told[-1][1] + text
        else:
            told.append((event["type"], text))
    return told


IN_SOCKET = """url => new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace("http", "ws")), frames = [];
    socket.onopen = () => socket.send(JSON.stringify({type: "task", message: "one two"}));
    socket.onerror = () => reject("refused");
    socket.onmessage = event => {
        frames.push(JSON.parse(event.data));
        if (frames.at(-1).type === "done") resolve(frames.map(frame => frame.type));
    };
})"""


@fronts
async def test_a_page_of_the_service_may_open_a_socket(kind: str, root: str, page: Page) -> None:
    async with fronted(kind, root) as it:
        await page.goto(it.url + "/health")
        told = await page.evaluate(IN_SOCKET, it.url + "/api/ws/chat")
        assert told == ["connected", "response.delta", "response.delta", "response.completed", "done"]

"""Readers of event streams that are not ours, each reading one stream to its end."""

import json
import subprocess
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import anyio
import httpx
from httpx_sse import aconnect_sse
from playwright.async_api import Page

from tests.needed import missing, needed

HERE = Path(__file__).parent
Frame = tuple[str, str]
"""Id and data of one event, heartbeats left out."""
Reader = Callable[[str], Awaitable[list[Frame]]]

# Until the source gives up, which a 204 makes it do. The page's own URL must be of the same origin.
IN_PAGE = """url => new Promise(resolve => {
    const frames = [], source = new EventSource(url);
    source.onmessage = event => frames.push([event.lastEventId, event.data]);
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) resolve(frames); };
})"""


def check() -> None:
    """That they are all installed."""
    for program in ("chromium", "node", "curl"):
        needed(program)
    if not (HERE / "node_modules" / "eventsource").is_dir():
        missing("the npm package eventsource")


def chromium(page: Page) -> Reader:
    async def read(url: str) -> list[Frame]:
        return told((id, data) for id, data in await page.evaluate(IN_PAGE, url))

    return read


async def npm_eventsource(url: str) -> list[Frame]:
    lines = await output(["node", str(HERE / "read.mjs"), url])
    return told((event["id"], event["data"]) for event in map(json.loads, lines.decode().split("\n")[:-1]))


async def httpx_sse(url: str) -> list[Frame]:
    async with httpx.AsyncClient(timeout=10) as http, aconnect_sse(http, "GET", url) as source:
        return told([(frame.id, frame.data) async for frame in source.aiter_sse()])


async def curl(url: str) -> list[Frame]:
    """Its raw bytes, by the letter of the format: nothing but CR, LF and CRLF ends a line."""
    raw = await output(["curl", "-sN", url])
    return parsed(raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode().split("\n"))


async def unicode_lines(url: str) -> list[Frame]:
    """What people write themselves; these lines end at U+2028, U+2029, U+0085, FF, VT and more, too."""
    async with httpx.AsyncClient(timeout=10) as http, http.stream("GET", url) as answer:
        return parsed([line async for line in answer.aiter_lines()])


def parsed(lines: list[str]) -> list[Frame]:
    frames, id, data = [], "", []
    for line in lines:
        name, _, value = line.partition(": ")
        match name:
            case "id":
                id = value
            case "data":
                data.append(value)
            case "" if data:
                frames.append((id, "\n".join(data)))
                data = []
            case "retry" | "":
                pass
            case _:
                raise AssertionError(f"a line of no event: {line!r}")
    return told(frames)


def told(frames: Iterable[Frame]) -> list[Frame]:
    return [(id, data) for id, data in frames if '"type":"heartbeat"' not in data]


async def output(command: list[str]) -> bytes:
    done = await anyio.run_process(command, stdin=subprocess.DEVNULL, stderr=None)
    return done.stdout

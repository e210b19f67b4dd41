"""What the service is measured by alone: bytes on the wire, memory by stream, many watchers of one run, its start."""

import http.client
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from tests.load.cells import FAST, Plan
from tests.load.child import Child
from tests.load.crowd import Ask, Crowd
from tests.load.subjects import FLEET, Stage, Wish, conversations, get, service, socket_ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """Bytes; seconds; shares of a core."""

    full: int  # of a token's event, with its frame
    lean: int
    idle_sse: float  # beyond the process, by stream
    idle_socket: float
    live_sse: float
    live_socket: float
    watching: float  # of a core, for all watchers of one run
    ready: float  # seconds from the start to /ready
    start_cpu: float
    resident: int  # of the idle process, before its first request


def measure(stage: Stage, plan: Plan) -> Alone:
    full, lean = _on_the_wire(stage)
    ready, start_cpu, resident = _start(stage, plan)
    return Alone(
        full=full,
        lean=lean,
        idle_sse=_idle(stage, plan, "sse"),
        idle_socket=_idle(stage, plan, "websocket"),
        live_sse=_live(stage, plan, "sse"),
        live_socket=_live(stage, plan, "websocket"),
        watching=_watching(stage, plan),
        ready=ready,
        start_cpu=start_cpu,
        resident=resident,
    )


def _on_the_wire(stage: Stage) -> tuple[int, int]:
    """The largest frame of a token, whole and lean."""
    run = _run(stage, Wish(20, 10))  # each comes alone
    frames = [_fetch(stage, f"/api/v1/runs/{run}/events?fields={fields}").split(b"\n\n") for fields in ("full", "lean")]
    full, lean = (max(len(each) + 2 for each in found if b'"response.delta"' in each) for found in frames)
    return full, lean


def _idle(stage: Stage, plan: Plan, transport: str) -> float:
    """Bytes by stream, of many that watch a run which has said something and fallen silent."""
    with _fresh(stage) as alone:
        return _weight(alone, plan, [_watch(alone, _run(alone, Wish(hold=True)), transport)] * plan.idle)


def _live(stage: Stage, plan: Plan, transport: str) -> float:
    """Bytes by stream, of many that have a slow run each."""
    with _fresh(stage) as alone:
        return _weight(alone, plan, alone.asks(FLEET, transport, FAST, plan.live, Wish(100_000, 1000)))


@contextmanager
def _fresh(stage: Stage) -> Iterator[Stage]:
    """With a service of its own: one that was larger once has room that nobody sees."""
    with (
        tempfile.TemporaryDirectory(dir=stage.home) as home,
        service(stage.source.url, Path(home), stage.core) as child,
    ):
        yield replace(stage, children={FLEET: child})


def _weight(stage: Stage, plan: Plan, asks: Sequence[Ask]) -> float:
    """Bytes by which the service grows with each stream that is open. A tenth come and go first: what is needed once
    does not count."""
    child, few = stage.children[FLEET], len(asks) // 10
    _open(child, asks[:few]).close()
    time.sleep(plan.settled)
    before = child.rss()
    crowd = _open(child, asks[few:])
    time.sleep(plan.settled)
    grown = child.rss() - before
    crowd.close()
    child.kill()
    return grown / len(asks[few:])


def _watch(stage: Stage, run: str, transport: str) -> Ask:
    host = urlsplit(stage.children[FLEET].url).netloc
    if transport == "websocket":
        return socket_ask(host, "/api/ws/chat", {"type": "watch", "run_id": run})
    return get(host, f"/api/v1/runs/{run}/events")


def _open(child: Child, asks: Sequence[Ask]) -> Crowd:
    crowd = Crowd(child.url, asks, child)
    crowd.read(until=lambda crowd: crowd.speaking)
    return crowd


def _watching(stage: Stage, plan: Plan) -> float:
    """One run that says something twenty times a second, and many who watch it."""
    child = stage.children[FLEET]
    run = _run(stage, Wish(100_000, 50))
    crowd = _open(child, [_watch(stage, run, "sse")] * plan.watchers)
    began, cpu = time.monotonic(), child.cpu()
    crowd.read(until=lambda crowd: time.monotonic() - began > plan.watched)
    share = (child.cpu() - cpu) / (time.monotonic() - began)
    crowd.close()
    _fetch(stage, f"/api/v1/runs/{run}/cancel", {})
    return share


def _run(stage: Stage, wish: Wish) -> str:
    """A run that has begun."""
    (conversation,) = conversations(urlsplit(stage.children[FLEET].url).netloc, 1)
    path = f"/api/v1/conversations/{conversation}/runs"
    return str(json.loads(_fetch(stage, path, {"message": wish.question(), "mode": FAST}))["run_id"])


def _start(stage: Stage, plan: Plan) -> tuple[float, float, int]:
    """Of another process, with a folder of its own, on the core of the service."""
    began = time.monotonic()
    with _fresh(stage) as alone:
        child = alone.children[FLEET]
        while _status(child.url, "/ready") != 200:
            time.sleep(0.005)
        ready, cpu = time.monotonic() - began, child.cpu()
        time.sleep(plan.settled)
        return ready, cpu, child.rss()


def _status(url: str, path: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def _fetch(stage: Stage, path: str, body: dict[str, object] | None = None) -> bytes:
    connection = http.client.HTTPConnection(urlsplit(stage.children[FLEET].url).netloc)
    try:
        data = None if body is None else json.dumps(body)
        method = "GET" if body is None else "POST"
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        return connection.getresponse().read()
    finally:
        connection.close()

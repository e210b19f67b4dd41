"""What the service is measured by alone: bytes on the wire, memory by stream, many watchers of one run, its start."""

import http.client
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
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
    run = _held_run(stage)
    host = urlsplit(stage.children[FLEET].url).netloc
    watching = {"type": "watch", "run_id": run}
    return Alone(
        full=full,
        lean=lean,
        idle_sse=_weight(stage, plan, [get(host, f"/api/v1/runs/{run}/events")] * plan.held),
        idle_socket=_weight(stage, plan, [socket_ask(host, "/api/ws/chat", watching)] * plan.held),
        live_sse=_weight(stage, plan, stage.asks(FLEET, "sse", FAST, plan.held, Wish(100_000, 1000))),
        live_socket=_weight(stage, plan, stage.asks(FLEET, "websocket", FAST, plan.held, Wish(100_000, 1000))),
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


def _weight(stage: Stage, plan: Plan, asks: Sequence[Ask]) -> float:
    """Bytes by which the service grows with each stream that stays open. A few come first, for what they leave."""
    child, few = stage.children[FLEET], max(1, len(asks) // 10)
    _open(child, asks[:few]).close()
    time.sleep(plan.settled)
    before = child.rss()
    crowd = _open(child, asks[few:])
    time.sleep(plan.settled)
    grown = child.rss() - before
    crowd.close()
    _cancel_all(stage)
    return grown / len(asks[few:])


def _open(child: Child, asks: Sequence[Ask]) -> Crowd:
    crowd = Crowd(child.url, asks, child)
    crowd.read(until=lambda crowd: crowd.speaking)
    return crowd


def _watching(stage: Stage, plan: Plan) -> float:
    """One run that says something twenty times a second, and many who watch it."""
    child = stage.children[FLEET]
    run = _run(stage, Wish(100_000, 50))
    host = urlsplit(child.url).netloc
    crowd = _open(child, [get(host, f"/api/v1/runs/{run}/events")] * plan.watchers)
    began, cpu = time.monotonic(), child.cpu()
    crowd.read(until=lambda crowd: time.monotonic() - began > plan.watched)
    share = (child.cpu() - cpu) / (time.monotonic() - began)
    crowd.close()
    _cancel_all(stage)
    return share


def _held_run(stage: Stage) -> str:
    return _run(stage, Wish(hold=True))


def _run(stage: Stage, wish: Wish) -> str:
    """A run that has begun."""
    (conversation,) = conversations(urlsplit(stage.children[FLEET].url).netloc, 1)
    path = f"/api/v1/conversations/{conversation}/runs"
    return str(json.loads(_fetch(stage, path, {"message": wish.question(), "mode": FAST}))["run_id"])


def _cancel_all(stage: Stage) -> None:
    """All runs but the one that is held for its watchers; a hundred at a time."""
    for _ in range(100):
        live = [
            run
            for run in json.loads(_fetch(stage, "/api/v1/runs?status=running&limit=100"))
            if " hold" not in run["task"]
        ]
        if not live:
            return
        for run in live:
            _fetch(stage, f"/api/v1/runs/{run['run_id']}/cancel", {})
    raise TimeoutError("There was no end of live runs.")


def _start(stage: Stage, plan: Plan) -> tuple[float, float, int]:
    """Of another process, with a folder of its own, on the core of the service."""
    with tempfile.TemporaryDirectory(dir=stage.home) as home:
        began = time.monotonic()
        with service(stage.source.url, Path(home), stage.core) as child:
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

"""Who is measured: the service in a mode and over a transport, and the two floors; and how each is asked."""

import http.client
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agentic_fleet.testing.fleet import environment
from tests.load.child import Child, running
from tests.load.crowd import Ask, text_frame

FLEET, OPENAI, HTTPX = "fleet", "openai", "httpx"
TRANSPORTS = ("sse", "websocket")

_asked = count(1)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the model is to say: so many tokens, `pace` milliseconds apart; with `hold` one, and then nothing more."""

    tokens: int = 1
    pace: int = 0
    hold: bool = False

    def question(self) -> str:
        """No two are the same: plans are remembered."""
        return f"load tokens={self.tokens} pace={self.pace}{' hold' if self.hold else ''} number={next(_asked)}"


@dataclass(frozen=True)
class Stage:
    """All processes of a bench, running."""

    source: Child
    children: dict[str, Child]  # by FLEET, OPENAI, HTTPX
    home: Path
    core: int | None  # of the children

    def asks(self, subject: str, transport: str, mode: str, streams: int, wish: Wish) -> Sequence[Ask]:
        """Ready to send. The service's conversations are made here, so that they are not measured with the streams."""
        host = urlsplit(self.children[subject].url).netloc
        questions = [wish.question() for _ in range(streams)]
        if transport == "websocket":
            path = "/api/ws/chat" if subject == FLEET else "/ws"
            return [socket_ask(host, path, _task(subject, mode, each)) for each in questions]
        if subject != FLEET:
            return [post(host, "/sse", {"message": each}) for each in questions]
        paths = [f"/api/v1/conversations/{each}/runs" for each in conversations(host, streams)]
        return [post(host, path, {"message": each, "mode": mode}) for path, each in zip(paths, questions, strict=True)]


@contextmanager
def stage(home: Path, names: Sequence[str] = (FLEET, OPENAI, HTTPX)) -> Iterator[Stage]:
    """The model on one core, those who are measured on another, if there are two. Logs and the store are in `home`."""
    cores = sorted(os.sched_getaffinity(0))
    here, there = (cores[0], cores[-1]) if len(cores) > 1 else (None, None)
    with ExitStack() as stack:
        source = stack.enter_context(
            running(["-m", "tests.load.source"], greeting="source on", log=home / "source.log", core=there)
        )
        children = {name: stack.enter_context(_subject(name, source.url, home, here)) for name in names}
        before = os.sched_getaffinity(0)
        if there is not None:
            os.sched_setaffinity(0, {there})
        stack.callback(os.sched_setaffinity, 0, before)
        yield Stage(source, children, home, here)


def _subject(name: str, model: str, home: Path, core: int | None) -> Any:
    if name != FLEET:
        arguments = ["-m", "tests.load.floors", name, model]
        return running(arguments, greeting="floor on", log=home / f"{name}.log", core=core)
    return service(model, home, core)


def service(model: str, home: Path, core: int | None) -> Any:
    """The service as it runs for users, but with room for the largest crowd."""
    settings = {"max_runs": 2000, "run_rate": 0, "frame_rate": 0, "model": "load", "openai_base_url": model}
    environ = environment(home / "fleet", settings)
    return running(["app.py"], greeting="AgenticFleet", log=home / "fleet.log", core=core, environ=environ)


def conversations(host: str, number: int) -> list[str]:
    """Their ids, new."""
    connection = http.client.HTTPConnection(host)
    found = []
    for _ in range(number):
        connection.request("POST", "/api/v1/conversations", body=b"{}", headers={"Content-Type": "application/json"})
        found.append(str(json.loads(connection.getresponse().read())["id"]))
    connection.close()
    return found


def post(host: str, path: str, body: dict[str, Any]) -> Ask:
    data = json.dumps(body).encode()
    return Ask(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )


def get(host: str, path: str) -> Ask:
    return Ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n".encode())


def socket_ask(host: str, path: str, frame: dict[str, Any]) -> Ask:
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    return Ask(handshake.encode(), text_frame(json.dumps(frame).encode()))


def _task(subject: str, mode: str, message: str) -> dict[str, Any]:
    return {"type": "task", "message": message, "mode": mode} if subject == FLEET else {"message": message}

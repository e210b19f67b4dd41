"""The service as a process of its own, the way users run it, against a model that the test plays."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from agentic_fleet.testing.model import ScriptedModel

ROOT = Path(__file__).parent.parent.parent
START = 30  # seconds; a loaded machine imports slowly


@dataclass
class Service:
    url: str
    process: Process
    http: httpx.AsyncClient

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def gone(self) -> int:
        """Its exit code, once it has ended."""
        with anyio.fail_after(START):
            return await self.process.wait()

    async def start(self, message: str, conversation: str | None = None, **ask: Any) -> dict[str, Any]:
        if conversation is None:
            conversation = (await self.post("/api/v1/conversations", {}))["id"]
        return await self.post(f"/api/v1/conversations/{conversation}/runs", {"message": message, **ask})

    async def post(self, path: str, body: Any = None) -> dict[str, Any]:
        answer = await self.http.post(path, json=body)
        assert answer.is_success, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.is_success, answer.text
        return answer.json()

    def descriptors(self) -> int:
        """Open files and sockets of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


def environ(home: Path, fake: ScriptedModel | None, **more: str) -> dict[str, str]:
    """Of this process, without its settings, and with those of a service on a free port."""
    ours = re.compile(r"FLEET_|OPENAI_|AZURE_")
    inherited = {name: value for name, value in os.environ.items() if not ours.match(name)}
    model = {"FLEET_MODEL": "fake", "OPENAI_BASE_URL": fake.base_url} if fake else {}
    return {**inherited, "FLEET_HOME": str(home), "FLEET_PORT": "0", **model, **more}


@asynccontextmanager
async def service(
    home: Path,
    fake: ScriptedModel | None,
    team: Mapping[str, str] | None = None,
    *,
    command: tuple[str, ...] = ("-m", "app"),
    **settings: str,
) -> AsyncIterator[Service]:
    """A running service; killed when the block is left, if it still runs then."""
    process = await anyio.open_process(
        [sys.executable, *command],
        env=environ(home, fake, **(team or {}), **settings),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stderr=None,
    )
    try:
        assert process.stdout is not None
        with anyio.fail_after(START):
            url = await _url(TextReceiveStream(process.stdout))
        async with httpx.AsyncClient(base_url=url, timeout=START) as http:
            yield Service(url, process, http)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _url(output: TextReceiveStream) -> str:
    text = ""
    async for part in output:
        text += part
        if found := re.search(r"http://[\w.:\[\]]+\d", text):
            return found[0]
    raise AssertionError(f"the service did not start: {text}")


class Seen(list[dict[str, Any]]):
    """The events a reader has seen, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = anyio.Event()

    def see(self, event: dict[str, Any]) -> None:
        self.append(event)
        self._grown.set()
        self._grown = anyio.Event()

    async def reach(self, count: int) -> None:
        with anyio.fail_after(START):
            while len(self) < count:
                await self._grown.wait()

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self]


async def follow(http: httpx.AsyncClient, run_id: str, seen: Seen, after: int = 0) -> None:
    """Read a run's stream into `seen`, each event with its `seq`, until it ends or breaks."""
    seq = after
    try:
        async with http.stream("GET", f"/api/v1/runs/{run_id}/events", params={"after": after}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    seq = int(line.rsplit(":", 1)[1])
                elif line.startswith("data: "):
                    event = json.loads(line[6:])
                    if event["type"] != "heartbeat":
                        seen.see({**event, "seq": seq})
    except httpx.HTTPError:
        pass

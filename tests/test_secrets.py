"""Keys and words of users are nowhere in the log, whoever writes it and however much it tells."""

import os
import sys
from pathlib import Path

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from agentic_fleet.testing import Fleet, ScriptedModel, running_fleet
from tests.faults.table import row

KEY, WRONG, SECRET = "alice-0123456789", "mallory-01234567", "the-word-of-the-user"
PLAIN = """
import socket, uvicorn
listener = socket.create_server(("127.0.0.1", 0))
print(f"AgenticFleet plain on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
config = uvicorn.Config("app:app", timeout_graceful_shutdown=5, log_level="trace")
uvicorn.Server(config).run([listener])
"""


async def use_every_door(fleet: Fleet, *, in_urls: bool = True) -> None:
    """Each way to show a key, right and wrong, and each way to fail with one."""
    async with httpx.AsyncClient(base_url=fleet.url, timeout=10) as http:
        for key, status in ((KEY, 200), (WRONG, 401)):
            shown = {"Authorization": f"Bearer {key}"}
            query = f"?key={key}" if in_urls else ""
            for path in ("/api/v1/runs", f"/api/v1/runs{query}"):
                answer = await http.get(path, headers=shown)
                assert answer.status_code in (status, 422)
            assert (await http.post("/api/v1/sign-in", json={"key": key})).status_code == status
            assert (await http.post("/api/v1/sign-in", json={"key": [key]})).status_code == 422
            http.cookies.clear()
            url = f"{fleet.url.replace('http', 'ws')}/api/ws/chat{query}"
            async with connect(url, subprotocols=[Subprotocol("bearer"), Subprotocol(key)], proxy=None) as socket:
                try:
                    await socket.send(f'{{"type": "{SECRET}\\n\\u001b[2J", "key": "{key}"}}')
                    assert "error" in str(await socket.recv())
                except ConnectionClosed:
                    assert socket.close_code == 4401 and key == WRONG
        stream = await http.get(f"/api/chat/demo/stream?message={SECRET}", headers={"Authorization": f"Bearer {KEY}"})
        assert "response.completed" in stream.text


@row(50, 55)
@pytest.mark.parametrize("log", ["console", "json"])
async def test_no_key_and_no_words_are_logged(tmp_path: Path, log: str) -> None:
    async with ScriptedModel(f"{SECRET}, said the model") as model:
        async with running_fleet(
            model=model, home=tmp_path, api_keys=[f"alice:{KEY}"], log=log, log_level="DEBUG"
        ) as fleet:
            with anyio.fail_after(30):
                await use_every_door(fleet)
            await fleet.stop()
            assert "run started" in fleet.output
            for secret in (KEY, WRONG, SECRET, "\x1b"):
                assert secret not in fleet.output


@row(55)
async def test_plain_uvicorn_logs_no_key_either(tmp_path: Path) -> None:
    async with ScriptedModel("fine") as model:
        async with running_fleet(model=model, home=tmp_path, api_keys=[f"alice:{KEY}"], command=("-c", PLAIN)) as fleet:
            with anyio.fail_after(30):
                await use_every_door(fleet, in_urls=False)  # URLs stand in its access log: ours never need one there
            await fleet.stop()
            assert "GET /api/v1/runs" in fleet.output
            assert KEY not in fleet.output
            assert WRONG not in fleet.output


async def test_ask_shows_its_key_and_works_under_a_sub_path(tmp_path: Path) -> None:
    key = {"FLEET_API_KEY": KEY}
    async with ScriptedModel("It is forty-two.") as model:
        async with running_fleet(model=model, home=tmp_path, api_keys=[f"alice:{KEY}"], root_path="/fleet") as fleet:
            command = [sys.executable, "-m", "agentic_fleet", "ask", "--json", "--url", f"{fleet.url}/fleet", "Why?"]
            with anyio.fail_after(30):
                answered = await anyio.run_process(command, env={**os.environ, **key}, check=False)
                refused = await anyio.run_process(command, env={**os.environ, "FLEET_API_KEY": WRONG}, check=False)
    assert answered.returncode == 0, answered.stderr
    assert b"forty-two" in answered.stdout
    assert refused.returncode == 1
    assert b"(401)" in refused.stderr
    assert WRONG.encode() not in refused.stderr + refused.stdout

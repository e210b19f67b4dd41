"""`scripts/ask "question"`: watch the team at work in a terminal.

A client like any other: it starts a run over HTTP and reads its event stream, reconnecting by cursor. When no service
answers, it runs one of its own for this question.

Exit codes: 0 answered, 1 the run failed, 2 wrong usage, 3 no service could be reached, 4 suspended: a question was not
answered in time (it still can be), 130 cancelled.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, get_args

import aiohttp
import anyio
from anyio.streams.text import TextReceiveStream

from agentic_fleet.progress import Progress
from agentic_fleet.turns import Mode

Event = dict[str, Any]

ATTEMPTS = 5
"""Reconnections in a row without a new event before giving up."""
PATIENCE = 60.0
"""Seconds a service of our own may take to start."""
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)  # heartbeats come every 15 s
_EXIT = {"response.completed": 0, "error": 1, "suspended": 4, "cancelled": 130}


class Unreachable(Exception):
    pass


async def ask(question: str, *, mode: Mode, url: str | None, as_json: bool) -> int:
    """One question, to the exit code."""
    async with (
        _service(url) as base,
        aiohttp.ClientSession(base, timeout=_TIMEOUT) as http,
    ):
        run = await _start(http, question, mode)
        outcome = 1
        with Progress(as_json=as_json, url=base) as progress:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_interrupt, http, run, progress, tasks.cancel_scope)
                async with aclosing(_events(http, run)) as events:
                    async for event in events:
                        outcome = _EXIT.get(event["type"], outcome)
                        progress.show(event)
                tasks.cancel_scope.cancel("answered")
        return 130 if progress.abandoned else outcome


async def _start(http: aiohttp.ClientSession, question: str, mode: Mode) -> str:
    conversation = await _post(http, "/api/v1/conversations", {"title": question[:60]})
    run = await _post(http, f"/api/v1/conversations/{conversation['id']}/runs", {"message": question, "mode": mode})
    return str(run["run_id"])


async def _post(http: aiohttp.ClientSession, path: str, body: object) -> dict[str, Any]:
    async with http.post(path, json=body) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        if response.status >= 400:
            raise Unreachable(f"The service refused: {answer.get('detail')} ({response.status})")
        return answer


async def _events(http: aiohttp.ClientSession, run: str) -> AsyncGenerator[Event, None]:
    """The run's events, each once, across lost connections."""
    cursor, attempts = f"{run}:0", 0
    while attempts < ATTEMPTS:
        attempts += 1
        try:
            async with http.get(f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": cursor}) as response:
                if response.status != 200:
                    raise Unreachable(f"The stream was refused ({response.status}).")
                async for line in response.content:
                    if line.startswith(b"id: "):
                        cursor, attempts = line[4:].decode().strip(), 0
                    elif line.startswith(b"data: "):
                        event: Event = json.loads(line[6:])
                        yield event
                        if event["type"] == "done":
                            return
        except (aiohttp.ClientError, TimeoutError):
            pass
        await anyio.sleep(0.2 * 2**attempts)
    raise Unreachable("The service cannot be reached any more; the run may go on there.")


async def _interrupt(http: aiohttp.ClientSession, run: str, progress: Progress, leave: anyio.CancelScope) -> None:
    """First Ctrl-C: cancel the run and read its end. Second: leave."""
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(signals)
        progress.note("cancelling the run (Ctrl-C again leaves at once)")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_post, http, f"/api/v1/runs/{run}/cancel", {})
            await anext(signals)
            progress.abandoned = True
            leave.cancel("a second Ctrl-C")


@asynccontextmanager
async def _service(url: str | None) -> AsyncIterator[str]:
    """The service to ask: the one named, the one that answers at FLEET_HOST and FLEET_PORT, or a new one of our own."""
    base = url or f"http://{os.environ.get('FLEET_HOST', '127.0.0.1')}:{os.environ.get('FLEET_PORT', '8000')}"
    if url or await _answers(base):
        yield base.rstrip("/")
        return
    print(f"No service at {base}: starting one for this question.", file=sys.stderr)
    environ = {**os.environ, "FLEET_PORT": "0", "FLEET_HOST": "127.0.0.1"}
    environ.setdefault("FLEET_LOG_LEVEL", "ERROR")
    # A session of its own, so that our Ctrl-C cancels the run instead of killing the service under it.
    async with await anyio.open_process(
        [sys.executable, "-m", "app"], env=environ, stderr=None, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            yield await _greeting(TextReceiveStream(process.stdout))
        finally:
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(5, shield=True):
                    await process.wait()


async def _greeting(output: TextReceiveStream) -> str:
    """The address in the first line that a starting service prints."""
    text = ""
    with anyio.move_on_after(PATIENCE):
        async for part in output:
            text += part
            if "\n" in text:
                return next(word for word in text.split() if word.startswith("http://"))
    raise Unreachable("The service did not start; scripts/serve says why.")


async def _answers(base: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{base}/ready", timeout=aiohttp.ClientTimeout(2)) as reply,
        ):
            return reply.status in (200, 503)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/ask", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("question")
    parser.add_argument("--mode", choices=get_args(Mode), default="auto", help="how the team works (default: auto)")
    parser.add_argument("--url", help="the service to ask, for example http://127.0.0.1:8000")
    parser.add_argument("--json", action="store_true", help="print the events, one JSON object a line")
    given = parser.parse_args()
    try:
        return anyio.run(lambda: ask(given.question, mode=given.mode, url=given.url, as_json=given.json))
    except* (Unreachable, aiohttp.ClientError) as group:
        for error in group.exceptions:
            print(error, file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())

"""`scripts/ask "question"`: watch the team at work in a terminal.

A client like any other: it starts a run over HTTP and reads its event stream, reconnecting by cursor. When no service
answers, it runs one of its own for this question.

Exit codes: 0 answered, 1 the run failed or was refused, 2 wrong usage, 3 no service could be reached, 4 suspended: a
question was not answered in time (it still can be), 130 cancelled, else 128 and the signal's number.
A service that wants a key gets FLEET_API_KEY, or else the first of FLEET_API_KEYS.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import aiohttp
import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from agentic_fleet import jsontext
from agentic_fleet.errors import innermost
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


class Refused(Exception):
    pass


class Service(NamedTuple):
    """Where to ask. `base` may have a path of its own, and no slash at its end."""

    session: aiohttp.ClientSession
    base: str


async def ask(question: str, *, mode: Mode, url: str | None, as_json: bool) -> int:
    """One question, to the exit code."""
    outcome = 0
    async with anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:

            async def leave() -> None:
                """A terminal that is closed must not leave a service of ours behind, holding its folder."""
                nonlocal outcome
                outcome = 128 + await anext(signals)
                tasks.cancel_scope.cancel("a signal")

            tasks.start_soon(leave)
            async with (
                _service(url) as base,
                aiohttp.ClientSession(timeout=_TIMEOUT, headers=_authorization(os.environ)) as session,
            ):
                http = Service(session, base)
                outcome = await _watch(http, await _start(http, question, mode), Progress(as_json=as_json, url=base))
            tasks.cancel_scope.cancel("answered")
    return outcome


async def _watch(http: Service, run: str, progress: Progress) -> int:
    outcome = 1
    with progress:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_interrupt, http, run, progress, tasks.cancel_scope)
            async with aclosing(_events(http, run)) as events:
                async for event in events:
                    outcome = _EXIT.get(event["type"], outcome)
                    progress.show(event)
            tasks.cancel_scope.cancel("answered")
    return 130 if progress.abandoned else outcome


async def _start(http: Service, question: str, mode: Mode) -> str:
    conversation = await _post(http, "/api/v1/conversations", {"title": " ".join(question.split())[:60]})
    run = await _post(http, f"/api/v1/conversations/{conversation['id']}/runs", {"message": question, "mode": mode})
    return str(run["run_id"])


async def _post(http: Service, path: str, body: object) -> dict[str, Any]:
    async with http.session.post(f"{http.base}{path}", json=body) as response:
        try:
            answer = await response.json(content_type=None)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable(f"What answers at {response.url.origin()} is no AgenticFleet: try --url or FLEET_PORT.")
        if response.status >= 400:
            raise Refused(f"The service refused: {answer.get('detail')} ({response.status})")
        return answer


async def _events(http: Service, run: str) -> AsyncGenerator[Event, None]:
    """The run's events, each once, across lost connections."""
    cursor, attempts = f"{run}:0", 0
    while attempts < ATTEMPTS:
        attempts += 1
        try:
            url = f"{http.base}/api/v1/runs/{run}/events"
            async with http.session.get(url, headers={"Last-Event-ID": cursor}) as response:
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


async def _interrupt(http: Service, run: str, progress: Progress, leave: anyio.CancelScope) -> None:
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
    host, port = os.environ.get("FLEET_HOST") or "127.0.0.1", os.environ.get("FLEET_PORT") or "8000"
    base = url or (f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    if url or await _answers(base):
        yield base.rstrip("/")
        return
    print(f"No service at {base} (FLEET_PORT or --url name another): starting one for this question.", file=sys.stderr)
    # When we leave, nobody reads the run any more: no grace.
    environ = {**os.environ, "FLEET_PORT": "0", "FLEET_HOST": "127.0.0.1", "FLEET_DRAIN_GRACE": "0"}
    environ.setdefault("FLEET_LOG_LEVEL", "ERROR")
    # A session of its own, so that our Ctrl-C cancels the run instead of killing the service under it.
    async with await anyio.open_process(
        [sys.executable, "-m", "app"], env=environ, stderr=None, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield await _greeting(process)
        finally:
            if process.returncode is None:
                process.terminate()
                with anyio.move_on_after(5, shield=True):
                    await process.wait()


async def _greeting(process: Process) -> str:
    """The address that a starting service prints."""
    assert process.stdout is not None
    text = ""
    with anyio.move_on_after(PATIENCE):
        async for part in TextReceiveStream(process.stdout):
            text += part
            if found := re.search(r"^AgenticFleet \S+ on (http://\S+)\s", text, re.MULTILINE):
                return found[1]
        await process.wait()  # to terminate what is ending by itself would race with whoever collects its exit code
    raise Unreachable("The service did not start: see above, or what scripts/serve says.")


def _authorization(environ: Mapping[str, str]) -> dict[str, str]:
    key = environ.get("FLEET_API_KEY") or environ.get("FLEET_API_KEYS", "").partition(",")[0].partition(":")[2]
    return {"Authorization": f"Bearer {key.strip()}"} if key.strip() else {}


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
    parser.add_argument("--url", type=_url, help="the service to ask, for example http://127.0.0.1:8000")
    parser.add_argument("--json", action="store_true", help="print the events, one JSON object a line")
    given = parser.parse_args()
    question = jsontext.scrub(given.question)
    if not question.strip():
        parser.error("the question is empty")
    try:
        return anyio.run(lambda: ask(question, mode=given.mode, url=given.url, as_json=given.json))
    except KeyboardInterrupt:  # before there was a run to cancel
        return 130
    except (Unreachable, Refused, aiohttp.ClientError, OSError, ExceptionGroup) as error:
        return _failed(innermost(error))


def _failed(error: Exception) -> int:
    """The exit code; and why, where somebody can read it."""
    if isinstance(error, BrokenPipeError):  # `scripts/ask ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return 128 + signal.SIGPIPE
    if not isinstance(error, Unreachable | Refused | aiohttp.ClientError | OSError):
        raise error
    print(error, file=sys.stderr)
    return 1 if isinstance(error, Refused) else 3


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not like http://127.0.0.1:8000")
    return text


if __name__ == "__main__":
    sys.exit(main())

"""`scripts/practice`: put the packaged practice tasks to a running service, and tell it after each whether the routing
was right, as a user would. What it learns from that shows in scripts/optimize and scripts/evaluate.

A client like any other. The tasks are none of those that programs are trained on or measured with; each has a label,
and the feedback is a score, and for a wrong routing the comment "routing: AGENTS, MODE".

Exit codes: 0 done, 1 some runs failed, 3 no service could be reached.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from rich.console import Console
from rich.progress import Progress

from agentic_fleet.errors import innermost

TASKS = Path(__file__).parent / "learning" / "practice.jsonl"
AT_ONCE = 4
GOOD, BAD = 9, 3
"""Scores, 0 to 10, for a routing that is right and for one that is not."""
_TIMEOUT = aiohttp.ClientTimeout(total=900, sock_connect=5)


async def practise(url: str, count: int, console: Console) -> int:
    """How many runs failed."""
    tasks = [json.loads(line) for line in TASKS.read_text(encoding="utf-8").splitlines()]
    tasks = [tasks[at * len(tasks) // count] for at in range(count)] if count < len(tasks) else tasks
    right: list[bool] = []
    failed = 0
    key = os.environ.get("FLEET_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limit = anyio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(url, timeout=_TIMEOUT, headers=headers) as http:
        with Progress(console=console, transient=True) as bar:
            line = bar.add_task("Practising", total=len(tasks))

            async def run(task: dict[str, Any]) -> None:
                nonlocal failed
                async with limit:
                    try:
                        right.append(await _one(http, task))
                    except LookupError:
                        failed += 1
                bar.advance(line)

            async with anyio.create_task_group() as group:
                for task in tasks:
                    group.start_soon(run, task)
    console.print(f"{sum(right)} of {len(right)} tasks were routed as their label says; {failed} runs failed.")
    return failed


async def _one(http: aiohttp.ClientSession, task: dict[str, Any]) -> bool:
    """Whether it was routed right. LookupError when the run failed."""
    outcome = await _post(http, "/api/v1/run", {"task": task["task"]})
    routing = outcome["routing"]
    if outcome["status"] != "completed" or not routing:
        raise LookupError("the run failed")
    right = set(routing["agents"]) == set(task["agents"]) and routing["mode"] == task["mode"]
    feedback: dict[str, Any] = {"score": GOOD if right else BAD}
    if not right:
        feedback["comment"] = f"routing: {', '.join([*task['agents'], task['mode']])}"
    await _post(http, f"/api/v1/runs/{outcome['execution_id']}/feedback", feedback)
    return right


async def _post(http: aiohttp.ClientSession, path: str, body: object) -> dict[str, Any]:
    async with http.post(path, json=body) as response:
        if response.status >= 400:
            raise LookupError(f"{path} was refused ({response.status})")
        answer: dict[str, Any] = await response.json()
        return answer


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/practice", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=100, help="how many of them (default: 100)")
    parser.add_argument("--url", help="the service (default: FLEET_HOST and FLEET_PORT); FLEET_API_KEY is its key")
    given = parser.parse_args()
    host, port = os.environ.get("FLEET_HOST") or "127.0.0.1", os.environ.get("FLEET_PORT") or "8000"
    try:
        url = given.url or f"http://{host}:{port}"
        return 1 if anyio.run(practise, url, max(1, given.tasks), Console(stderr=True)) else 0
    except (aiohttp.ClientError, OSError, ExceptionGroup) as error:
        if not isinstance(innermost(error), aiohttp.ClientError | OSError):
            raise
        print("No service could be reached: start one with scripts/serve, or name it with --url.", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())

"""Put the packaged practice tasks to the service, and tell it after each whether the routing was right.

What it learns from that shows in scripts/optimize and scripts/evaluate.

A client like any other. The tasks are none of those that programs are trained on or measured with; each has a label,
and the feedback is a score, and for a wrong routing the comment "routing: AGENTS, MODE".
"""

import argparse
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
from rich.console import Console
from rich.progress import Progress

from agentic_fleet.cli.client import Client, Refused, authorization, host
from agentic_fleet.cli.session import arguments, carry_out

TASKS = Path(__file__).parent.parent / "learning" / "practice.jsonl"
AT_ONCE = 4
GOOD, BAD = 9, 3
"""Scores, 0 to 10, for a routing that is right and for one that is not."""
_TIMEOUT = aiohttp.ClientTimeout(total=900, sock_connect=5)  # an answer comes when it is whole
_SHOWN = 3  # different reasons why runs failed


class Failed(Exception):
    """A run without an answer, and what is known of the reason."""


@dataclass
class Practice:
    """`failures` counts the reasons."""

    client: Client
    right: int = 0
    wrong: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    async def put(self, task: dict[str, Any]) -> None:
        """Unreachable, and aiohttp's errors, when there is no service any more."""
        try:
            outcome = await self.client.post("/api/v1/run", {"task": task["task"]})
            right = _is_right(outcome, task)
            await self.client.post(f"/api/v1/runs/{outcome['execution_id']}/feedback", _feedback(task, right))
        except (Failed, Refused) as failure:
            self.failures[str(failure)] += 1
        else:
            self.right += right
            self.wrong += not right


async def work(given: argparse.Namespace, client: Client) -> int:
    headers = authorization(os.environ) | ({} if given.url else host(os.environ))
    tasks = _chosen(given.tasks)
    limit = anyio.Semaphore(AT_ONCE)
    console = Console(stderr=True)
    async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as http:
        practice = Practice(Client(http, client.base))
        with Progress(console=console, transient=True) as bar:
            line = bar.add_task("Practising", total=len(tasks))

            async def put(task: dict[str, Any]) -> None:
                async with limit:
                    await practice.put(task)
                bar.advance(line)

            async with anyio.create_task_group() as group:
                for task in tasks:
                    group.start_soon(put, task)
    _report(practice, console, as_json=given.json)
    return 1 if practice.failures else 0


def _chosen(count: int) -> list[dict[str, Any]]:
    """So many of all, from every part of the file: its tasks stand in the order of their agents and modes."""
    tasks = [json.loads(line) for line in TASKS.read_text(encoding="utf-8").splitlines()]
    return [tasks[at * len(tasks) // count] for at in range(count)] if count < len(tasks) else tasks


def _is_right(outcome: dict[str, Any], task: dict[str, Any]) -> bool:
    """Raises Failed for a run that did not complete."""
    routing = outcome["routing"]
    if outcome["status"] != "completed" or not routing:
        raise Failed(outcome["metadata"]["error"] or f"The run is {outcome['status']}.")
    return set(routing["agents"]) == set(task["agents"]) and routing["mode"] == task["mode"]


def _feedback(task: dict[str, Any], right: bool) -> dict[str, Any]:
    if right:
        return {"score": GOOD}
    return {"score": BAD, "comment": f"routing: {', '.join([*task['agents'], task['mode']])}"}


def _report(practice: Practice, console: Console, *, as_json: bool) -> None:
    failed, done = practice.failures.total(), practice.right + practice.wrong
    if as_json:
        print(json.dumps({"tasks": done + failed, "right": practice.right, "wrong": practice.wrong, "failed": failed}))
    else:
        console.print(f"{practice.right} of {done} tasks were routed as their label says; {failed} runs failed.")
    for reason, count in practice.failures.most_common(_SHOWN):
        console.print(f"{count} times: {reason}", markup=False, highlight=False, soft_wrap=True)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tasks")
    return int(text)


def main() -> int:
    parser = arguments("practice", __doc__ or "")
    parser.add_argument("--tasks", type=_count, default=100, help="how many of the 108 (default: 100)")
    given = parser.parse_args()
    return carry_out(given.url, partial(work, given))

"""A run watched in a terminal, from any point to its end: shown, answered, and cancelled by Ctrl-C."""

import signal
from contextlib import aclosing

import anyio

from agentic_fleet.cli.answers import Answers
from agentic_fleet.cli.client import Client
from agentic_fleet.cli.progress import Progress

_EXIT = {"response.completed": 0, "error": 1, "suspended": 4, "cancelled": 130}


async def watched(client: Client, run: str, *, as_json: bool, after: str | None = None) -> int:
    """Until it ends, to the exit code; `after` is a cursor."""
    outcome = 1
    with Progress(as_json=as_json, url=client.base) as progress:
        answers = Answers(client, run, progress)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_interrupt, client, run, progress, tasks.cancel_scope)
            tasks.start_soon(answers.ask)
            async with aclosing(client.events(run, after)) as events:
                async for event in events:
                    outcome = _EXIT.get(event["type"], outcome)
                    progress.show(event)
                    answers.hear(event)
            tasks.cancel_scope.cancel("it has ended")
    return 130 if progress.abandoned else outcome


async def _interrupt(client: Client, run: str, progress: Progress, leave: anyio.CancelScope) -> None:
    """First Ctrl-C: cancel the run and read its end. Second: leave."""
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(signals)
        progress.note("cancelling the run (Ctrl-C again leaves at once)")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.post, f"/api/v1/runs/{run}/cancel", {})
            await anext(signals)
            progress.abandoned = True
            leave.cancel("a second Ctrl-C")

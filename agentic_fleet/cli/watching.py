"""A run watched in a terminal, from any point to its end: shown, answered, and cancelled by Ctrl-C."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import anyio

from agentic_fleet.cli.answers import Answers
from agentic_fleet.cli.client import Client
from agentic_fleet.cli.progress import Progress

_EXIT = {"response.completed": 0, "error": 1, "suspended": 4, "cancelled": 130}

Begin = Callable[[], Awaitable[tuple[str, str | None]]]
"""Starts a run, or finds one: its id, and the cursor to watch it from; None is its beginning."""


async def watched(client: Client, begin: Begin, *, as_json: bool) -> int:
    """Until it ends, to the exit code. Ctrl-C counts while it is being started, too: it is cancelled once it has an
    id."""
    outcome = 1
    progress = Progress(as_json=as_json, url=client.base, with_key=client.has_key)
    with anyio.open_signal_receiver(signal.SIGINT) as signals, progress:
        async with anyio.create_task_group() as tasks:
            started = _Started(client)
            tasks.start_soon(_interrupt, signals, started, progress, tasks.cancel_scope)
            started.run, after = await begin()
            started.known.set()
            answers = Answers(client, started.run, progress)
            tasks.start_soon(answers.ask)
            async with aclosing(client.events(started.run, after)) as events:
                async for event in events:
                    outcome = _EXIT.get(event["type"], outcome)
                    progress.show(event)
                    answers.hear(event)
            tasks.cancel_scope.cancel("it has ended")
    return 130 if progress.abandoned else outcome


class _Started:
    def __init__(self, client: Client) -> None:
        self.known = anyio.Event()
        self.run = ""
        self._client = client

    async def cancel(self) -> None:
        await self.known.wait()
        await self._client.post(f"/api/v1/runs/{self.run}/cancel", {})


async def _interrupt(
    signals: AsyncIterator[signal.Signals], started: _Started, progress: Progress, leave: anyio.CancelScope
) -> None:
    """First Ctrl-C: cancel the run and read its end. Second: leave."""
    await anext(signals)
    progress.note("cancelling the run (Ctrl-C again leaves at once)")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(started.cancel)
        await anext(signals)
        progress.abandoned = True
        leave.cancel("a second Ctrl-C")

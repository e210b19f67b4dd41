"""The process: settings -> store -> model -> fleet -> learning -> runs -> Starlette -> uvicorn, and the signals.

`python app.py` is how the service runs: it owns the listening socket and the signals, drains at the first SIGTERM or
SIGINT, stops at the second or when the grace is over, and exits with 0. `app` is for `uvicorn app:app`, where uvicorn
owns both: streams are then cut at the first signal and runs end as interrupted, their logs whole.
"""

import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import anyio
import uvicorn

from agentic_fleet import __version__
from agentic_fleet.connection import Connection, Socket
from agentic_fleet.errors import BadSetting, FleetError, innermost
from agentic_fleet.home import open_home
from agentic_fleet.learning import open_learning
from agentic_fleet.learning.tuning import open_tuning
from agentic_fleet.listener import listen
from agentic_fleet.logs import configure_logging, mute_the_wire
from agentic_fleet.metrics import open_metrics
from agentic_fleet.runs import Runs
from agentic_fleet.settings import Settings
from agentic_fleet.store.sqlite import open_sqlite
from agentic_fleet.tracing import open_tracing
from agentic_fleet.web import Parts, create_app
from agentic_fleet.workflows.fleet import open_fleet
from agentic_fleet.workflows.models import open_model

logger = logging.getLogger("agentic_fleet")

LAST_WRITES = 5
"""Seconds in which streams must have written their last events once the runs are through."""
LEAVE = 2
"""Seconds for what is left when everything is closed: a tool may swallow its cancellation, and would be waited for."""


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """The rooms, opened in order and closed in reverse: connections, runs, jobs, late scores, tools, model, store."""
    with open_home(settings.home):
        async with (
            open_tracing(settings) as tracing,
            open_metrics() as metrics,
            open_sqlite(settings.home / "fleet.db", metrics.written) as store,
            open_model(settings) as model,
        ):
            async with (
                open_fleet(settings, model) as fleet,
                open_learning(settings, store, fleet, pass_score=fleet.roster.bounds.pass_score) as learning,
                open_tuning(settings, fleet, model, tracing) as tuning,
                Runs.open(
                    store,
                    fleet,
                    settings,
                    middleware=[*tracing.middleware, *learning.middleware, metrics],
                    scores_late=True,
                ) as runs,
            ):
                yield Parts(
                    settings=settings,
                    store=store,
                    runs=runs,
                    learning=learning,
                    tuning=tuning,
                    agents=fleet.roster.cards(model.name),
                    check_model=model.check,
                    check_tools=lambda: fleet.checks,
                    metrics=metrics,
                    tracing=tracing,
                )


class Server(uvicorn.Server):
    """uvicorn without its signal handlers (`Signals` below obeys them), and with a greeting once it listens."""

    def __init__(self, config: uvicorn.Config, url: str, *, keys: bool) -> None:
        super().__init__(config)
        self._url = url
        self._key = '-H "Authorization: Bearer KEY" ' if keys else ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"AgenticFleet {__version__} on {self._url}  (Ctrl-C stops it)")
        ask = f'curl -NG {self._key}{self._url}/api/chat/demo/stream --data-urlencode "message=Write a haiku"'
        print(f"Open it in a browser, or try:  {ask}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cut_the_slow)
            await super().shutdown(sockets)
            tasks.cancel_scope.cancel("every connection has ended")

    async def _cut_the_slow(self) -> None:
        await anyio.sleep(LAST_WRITES)
        self.cut()

    def cut(self) -> None:
        """Break every connection. Their handlers take it for their peers' leaving; uvicorn would cancel them, and log
        each as a failure."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Signals:
    """First: refuse new runs, let the live ones finish. Second, or grace over: stop them. While starting: leave."""

    def __init__(self, grace: float, process: anyio.CancelScope) -> None:
        self._grace = grace
        self._process = process
        self._running: tuple[Runs, Server] | None = None

    def running(self, runs: Runs, server: Server) -> None:
        self._running = runs, server

    async def obey(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await anext(signals)
            if self._running is None:
                self._process.cancel("a signal while starting")
                return
            runs, server = self._running
            logger.info("shutting down: %d live runs get %g s", runs.live, self._grace)
            async with anyio.create_task_group() as patience:
                patience.start_soon(_hurry, signals, patience.cancel_scope)
                await runs.drain(self._grace)
                patience.cancel_scope.cancel("drained")
            runs.stop()
            await runs.idle()
            server.should_exit = True
            async for _ in signals:
                server.cut()  # do not even wait for the last writes


async def _hurry(signals: AsyncIterator[signal.Signals], patience: anyio.CancelScope) -> None:
    await anext(signals)
    patience.cancel("a second signal")


async def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises FleetError when the address is taken or a room does not open."""
    async with anyio.create_task_group() as process:
        signals = Signals(settings.drain_grace, process.cancel_scope)
        process.start_soon(signals.obey)
        with listen(settings.host, settings.port, settings.send_timeout) as (listener, url):
            async with open_parts(settings) as parts:
                _spare_the_collector()
                server = Server(_config(settings, parts), url, keys=bool(settings.api_keys))
                signals.running(parts.runs, server)
                await server.serve(sockets=[listener])
        process.cancel_scope.cancel("served")
    threading.Thread(target=_leave, name="leave", daemon=True).start()


def _leave() -> None:
    """End the process, if it is still there then."""
    time.sleep(LEAVE)
    logger.warning("left without what did not end: a tool, most likely")
    logging.shutdown()
    os._exit(0)


def _spare_the_collector() -> None:
    """What was made at the start stays; looking through it again and again took a tenth of all time under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _config(settings: Settings, parts: Parts) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(lambda: nullcontext(parts)),
        http=Connection,
        ws=Socket,
        log_config=None,
        access_log=False,  # URLs hold questions
        server_header=False,
        proxy_headers=False,  # web/proxied.py reads them
        timeout_graceful_shutdown=LAST_WRITES + 1,  # for handlers that do not end with their connection
        ws_max_size=settings.max_body,
        ws_ping_interval=20,
        ws_ping_timeout=60,
        ws_per_message_deflate=False,
    )


def main() -> int:
    """Exit codes: 0 stopped as asked, 1 could not start, 2 a setting is not allowed."""
    try:
        settings = Settings.from_env()
        configure_logging(settings)
        anyio.run(serve, settings, backend_options={"use_uvloop": os.name == "posix"})
    except (FleetError, OSError, ExceptionGroup) as error:
        cause = innermost(error)
        if not isinstance(cause, FleetError | OSError):
            raise
        print(f"AgenticFleet could not start: {cause}", file=sys.stderr)
        return 2 if isinstance(cause, BadSetting) else 1
    return 0


mute_the_wire()
app = create_app(lambda: open_parts(Settings.from_env()))

if __name__ == "__main__":
    sys.exit(main())

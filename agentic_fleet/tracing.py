"""One trace per run, from the request that starts it to the last tool, when the environment names a collector.

Off, it costs nothing and OpenTelemetry's SDK is not even imported: all that needs it is in spans.py.
"""

import importlib.util
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

import anyio

from agentic_fleet.settings import Settings
from agentic_fleet.turns import ChatMiddleware

logger = logging.getLogger(__name__)

Answered = Callable[[str | None, int], None]
"""Takes the route that a request has reached, and the status of the answer."""

Concluded = Callable[[str], None]
"""Takes the status that a job has ended with."""


class Tracing:
    """Off. `middleware` follows the runs."""

    middleware: tuple[ChatMiddleware, ...] = ()

    def request(self, scope: Mapping[str, Any], request_id: str) -> AbstractContextManager[Answered]:
        """Around one request or socket (an ASGI scope)."""
        return _UNTRACED

    def job(self, job_id: str, module: str) -> AbstractContextManager[Concluded]:
        """Around one optimisation job, below the request that has started it."""
        return _UNFOLLOWED

    def close(self) -> None:
        """Send what waits. Blocks for some seconds at most."""


@asynccontextmanager
async def open_tracing(settings: Settings) -> AsyncIterator[Tracing]:
    """On when `settings` name a collector and the extra `otel` is installed. Once per process."""
    tracing = _tracing(settings)
    try:
        yield tracing
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(tracing.close)


def _tracing(settings: Settings) -> Tracing:
    if not settings.otlp_endpoint:
        return Tracing()
    if importlib.util.find_spec("opentelemetry.exporter") is None:
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is traced: the extra otel is missing "
            "(.venv/bin/pip install -e '.[otel]')"
        )
        return Tracing()
    from agentic_fleet.spans import Spans

    logger.info("traces go to %s", urlsplit(settings.otlp_endpoint).hostname)
    return Spans(settings.otlp_endpoint)


def _ignore(route: str | None, status: int) -> None:
    pass


def _forget(status: str) -> None:
    pass


_UNTRACED = nullcontext(_ignore)
_UNFOLLOWED = nullcontext(_forget)

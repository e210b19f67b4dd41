"""How the service is, in words that a person can act on. Anybody may read it, so it names settings and no paths.

503 says that the service cannot do its work. What has only been bad luck so far, or is about to be, is a warning:
whoever takes a service out at a 503 would never see it recover.
"""

import shutil
from pathlib import Path

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from agentic_fleet import __version__
from agentic_fleet.about import Check
from agentic_fleet.errors import Busy, Draining, StoreFailed
from agentic_fleet.runs import Runs
from agentic_fleet.web import views
from agentic_fleet.web.parts import Parts, parts_of

PING = 2.0
"""Seconds the store may take to answer."""
LITTLE = 500_000_000
"""Bytes of free space below which the store says so: some ten thousand runs."""


async def health(request: Request) -> Response:
    parts = parts_of(request)
    checks = {
        "store": await _check_store(parts),
        "model": parts.check_model(),
        "runs": _check_runs(parts.runs, parts.settings.max_runs),
    }
    failed = any(check.status == "failed" for check in checks.values())
    status = "failed" if failed else "ok"
    body = {"status": status, "version": __version__, "checks": checks, "tools": parts.check_tools()}
    return views.reply(body, 503 if failed else 200)


async def ready(request: Request) -> Response:
    parts = parts_of(request)
    if parts.runs.draining:
        raise Draining("The service is shutting down.")
    if parts.check_model().status == "starting":
        raise Busy("The model is still starting.")
    return views.reply({"status": "ready"})


def _check_runs(runs: Runs, most: int) -> Check:
    detail = f"{runs.live} of {most} live"
    if runs.draining:
        detail += ", draining: the service is shutting down, and new runs are refused"
    elif runs.live >= most:
        detail += ": new ones are refused until one ends (FLEET_MAX_RUNS)"
    return Check(status="ok", detail=detail)


async def _check_store(parts: Parts) -> Check:
    with anyio.move_on_after(PING):
        try:
            await parts.store.ping()
        except StoreFailed as error:
            return Check(status="failed", detail=f"{error} It keeps its files in FLEET_HOME.")
        short = await to_thread.run_sync(_space, parts.settings.home)
        return Check(status="warning" if short else "ok", detail=f"It takes writes.{short}")
    return Check(
        status="failed",
        detail=f"It did not answer within {PING:g} s: the disk of FLEET_HOME is too slow, or holds up whoever writes.",
    )


def _space(home: Path) -> str:
    try:
        free = shutil.disk_usage(home).free
    except OSError:  # there is no such folder: a store in memory
        return ""
    return f" Only {free // 1_000_000} MB are free on the disk of FLEET_HOME: make room." if free < LITTLE else ""

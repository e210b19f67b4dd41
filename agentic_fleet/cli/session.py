"""One command, from its service to its exit code: what all commands share.

Exit codes: 0 done, 1 the run failed or was refused, 2 wrong usage, 3 no service could be reached, 4 suspended: a
question was not answered in time (it still can be), 130 cancelled, else 128 and the signal's number.
"""

import argparse
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aiohttp
import anyio

from agentic_fleet.cli.client import TIMEOUT, Client, Refused, Unreachable, authorization, host
from agentic_fleet.cli.launch import reached
from agentic_fleet.errors import innermost

CODES = "\n".join((__doc__ or "").split("\n")[2:])
KEY = "A service that wants a key gets FLEET_API_KEY, or else the first of FLEET_API_KEYS."

Work = Callable[[Client], Awaitable[int]]


def arguments(name: str, about: str) -> argparse.ArgumentParser:
    """A parser of the command `name`, with what all of them take."""
    parser = argparse.ArgumentParser(
        prog=f"python -m agentic_fleet {name}",
        description=f"{about}\n{CODES}{KEY}",
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--url", type=_url, help="the service to ask, for example http://127.0.0.1:8000")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


def carry_out(url: str | None, work: Work, *, launch: bool = True) -> int:
    """Do it with the service at `url`, or the one there is, or (`launch`) one of our own; the exit code."""
    try:
        return anyio.run(_carry_out, url, work, launch)
    except KeyboardInterrupt:  # before there was a run to cancel
        return 128 + signal.SIGINT
    except (Unreachable, Refused, aiohttp.ClientError, OSError, ExceptionGroup) as error:
        return _failed(innermost(error))


async def _carry_out(url: str | None, work: Work, launch: bool) -> int:
    outcome = 0
    headers = authorization(os.environ) | ({} if url else host(os.environ))
    async with anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:

            async def leave() -> None:
                """A terminal that is closed must not leave a service of ours behind, holding its folder."""
                nonlocal outcome
                outcome = 128 + await anext(signals)
                tasks.cancel_scope.cancel("a signal")

            tasks.start_soon(leave)
            async with (
                reached(url, launch=launch) as base,
                aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session,
            ):
                outcome = await work(Client(session, base))
            tasks.cancel_scope.cancel("done")
    return outcome


def _failed(error: Exception) -> int:
    """The exit code; and why, where somebody can read it."""
    if isinstance(error, BrokenPipeError):  # `scripts/ask ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return 128 + signal.SIGPIPE
    if not isinstance(error, Unreachable | Refused | aiohttp.ClientError | OSError):
        raise error
    print(_nobody(error) if isinstance(error, aiohttp.ClientConnectorError) else error, file=sys.stderr)
    return 3 if isinstance(error, Unreachable | aiohttp.ClientError | TimeoutError) else 1


def _nobody(error: aiohttp.ClientConnectorError) -> str:
    refused = isinstance(error.os_error, ConnectionRefusedError)  # its own text is about asyncio
    reason = "connection refused" if refused else error.os_error.strerror
    return f"No service answers at {error.host}:{error.port} ({reason}): is it running, and --url right?"


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not like http://127.0.0.1:8000")
    return text

"""Starting the worker process, hearing it out, and seeing to it that it is gone afterwards, whatever happens."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

import agentic_fleet
from agentic_fleet import jsontext
from agentic_fleet.errors import FleetError
from agentic_fleet.learning.orders import Outcome, Said, Work
from agentic_fleet.settings import Settings, model_environment

KILL_AFTER = 5.0
"""Seconds that a worker gets to end after it was told to."""
_LINE = 1_000_000  # bytes of one line that it says
_WHERE = str(Path(agentic_fleet.__file__).parent.parent)  # also when nobody has installed us
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
_PREFIXES = ("SSL_", "REQUESTS_", "OMP_", "OPENBLAS_", "AZURE_")  # for TLS, threads and signing in


class OptimisationFailed(FleetError):
    """What the worker said, or that it died."""


async def optimised(work: Work, settings: Settings, hear: Callable[[Said], None]) -> Outcome:
    """Carry out the work in a process of its own. Cancelling ends it, within KILL_AFTER.

    Raises OptimisationFailed, also when it takes longer than the settings allow.
    """
    # a session of its own, so that Ctrl-C in a terminal is ours to obey; its stderr may quote what people asked
    process = await anyio.open_process(
        [sys.executable, "-m", "agentic_fleet.learning.worker"],
        env=_environment(settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with anyio.fail_after(settings.optimize_timeout):
            return await _heard(process, work, hear)
    except TimeoutError:
        raise OptimisationFailed(
            f"It took longer than FLEET_OPTIMIZE_TIMEOUT allows ({settings.optimize_timeout:g} s)."
        ) from None
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _heard(process: Process, work: Work, hear: Callable[[Said], None]) -> Outcome:
    assert process.stdin and process.stdout
    try:
        await process.stdin.send(jsontext.encode(work) + b"\n")
        lines = BufferedByteReceiveStream(process.stdout)
        while True:
            said = jsontext.decode(await lines.receive_until(b"\n", _LINE), Said)
            if said.failed:
                raise OptimisationFailed(said.failed)
            if said.outcome:
                return said.outcome
            hear(said)
    except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
        raise OptimisationFailed("The process that optimised died.") from None


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(KILL_AFTER):
            await process.wait()
    await process.aclose()  # kills what is still there


def _environment(settings: Settings) -> dict[str, str]:
    """What a process of ours needs, and no more: keys of clients are not its business."""
    wanted = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_PREFIXES)}
    ours = os.pathsep.join(filter(None, (_WHERE, os.environ.get("PYTHONPATH"))))
    proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return {**wanted, **proxies, "PYTHONPATH": ours, **model_environment(settings)}

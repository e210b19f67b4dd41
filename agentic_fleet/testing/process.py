"""One process of the service: started, read, and ended for sure.

Started with plain threads and no event loop, so that a session's fixture may own it and any test may use it. It leads
a process group: what it started itself (MCP servers) ends with it.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from agentic_fleet.testing.errors import DidNotStart

KEPT = 1_000_000
"""Characters of its output that are kept, the newest."""
LAST_WORDS = 5.0
"""Seconds for reading what an ended process has left in its pipe."""

_GREETING = re.compile(r"^AgenticFleet \S+ on (http://\S+)", re.MULTILINE)


class Process:
    """A Python process in the current folder. What it prints goes to our standard error as well, for pytest to show."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environ,
            cwd=Path.cwd(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._spoke = threading.Condition()
        self._output = ""
        self._url: str | None = None
        self._silent = False
        self._swept = False
        self._reader = threading.Thread(target=self._read, name="fleet output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def ready(self, timeout: float) -> str:
        """Its address, once it listens. Raises DidNotStart, with all that it printed."""
        with self._spoke:
            self._spoke.wait_for(lambda: self._url or self._silent, timeout)
            if self._url:
                return self._url
            ended = self._silent
        why = f"ended with code {self._process.wait(LAST_WORDS)}" if ended else f"was not ready after {timeout:g} s"
        raise DidNotStart(f"The service {why}. It printed:\n{self._output or '(nothing)'}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended. Raises TimeoutError."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"The service had not ended after {timeout:g} s.") from None
        self._sweep()
        return code

    def end(self) -> None:
        """Kill it, if it runs, and what it started."""
        self._process.kill()
        self._process.wait()
        self._sweep()

    def _sweep(self) -> None:
        """Once, as soon as it has ended: later, its number may be another's."""
        if not self._swept:
            self._swept = True
            with suppress(ProcessLookupError):  # it left nothing behind
                os.killpg(self._process.pid, signal.SIGKILL)
            self._reader.join(LAST_WORDS)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as pipe:
            while part := os.read(pipe.fileno(), 65536):
                with suppress(OSError):
                    os.write(2, part)
                with self._spoke:
                    self._output = (self._output + part.decode(errors="replace"))[-KEPT:]
                    if self._url is None and (found := _GREETING.search(self._output)):
                        self._url = found[1]
                    self._spoke.notify_all()
        with self._spoke:
            self._silent = True
            self._spoke.notify_all()

"""A process that is measured from outside: its CPU time, its memory, and its end for sure."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
START = 60.0
"""Seconds until a process has greeted; a loaded machine imports slowly."""
STOP = 10.0
"""Seconds between asking a process to end and killing it."""


class Child:
    """A Python process that has said where it listens, as the last word of a line that begins with `greeting`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.pid = process.pid
        self.url = ""
        self._process = process
        self._log = log
        self._clock = (~process.pid << 3) | 2  # clock_getcpuclockid(3), which Python lacks

    def cpu(self) -> float:
        """Seconds of CPU time of all its threads so far."""
        return time.clock_gettime(self._clock)

    def rss(self) -> int:
        """Bytes of memory that it holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def wait_for(self, greeting: str) -> None:
        """Until it has printed its address. RuntimeError, with all that it printed, when it ends or takes too long."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            for line in self._log.read_text(errors="replace").splitlines():
                if line.startswith(greeting) and (address := [word for word in line.split() if "://" in word]):
                    self.url = address[0]
                    return
            time.sleep(0.005)
        raise RuntimeError(f"{greeting!r} did not come. It printed:\n{self._log.read_text(errors='replace')}")

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):  # the second one hurries the service
            self._process.send_signal(number)
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                continue
            return


@contextmanager
def running(
    arguments: Sequence[str],
    *,
    greeting: str,
    log: Path,
    core: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Child]:
    """The process for the block, on one core if it is said which. What it prints goes to the file `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    child = Child(process, log)
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        child.wait_for(greeting)
        yield child
    finally:
        child.end()

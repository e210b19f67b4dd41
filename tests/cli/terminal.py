"""A command in a terminal of its own, as a person has it: what it shows, and keys to press."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import anyio
from anyio import to_thread

from agentic_fleet.testing.fleet import APP

CTRL_C, CTRL_D = "\x03", "\x04"

_COMMAND = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C comes to us
sys.argv[0] = "agentic_fleet"
runpy.run_module("agentic_fleet", run_name="__main__")
"""


class Terminal:
    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self._process = process
        self._screen = screen
        self._shown = ""

    @property
    def shown(self) -> str:
        """All of it, without what moves the cursor and colours the text."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown)

    def type(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    async def until(self, words: str, *, times: int = 1) -> None:
        """Raises TimeoutError."""
        with anyio.fail_after(30):
            while self.shown.count(words) < times:
                assert await self._read(), f"It ended without {words!r}: {self.shown}"

    async def ended(self) -> int:
        """The exit code, when all has been shown."""
        with anyio.fail_after(30):
            while await self._read():
                pass
            return await to_thread.run_sync(self._process.wait, abandon_on_cancel=True)

    async def _read(self) -> bool:
        await anyio.wait_readable(self._screen)
        try:
            part = os.read(self._screen, 65_536)
        except OSError:  # how Linux says that nobody has it open any more
            return False
        self._shown += part.decode(errors="replace")
        return bool(part)


@contextmanager
def terminal(*arguments: str, environ: Mapping[str, str]) -> Iterator[Terminal]:
    """With `python -m agentic_fleet` and these arguments running in it; killed when the block is left."""
    screen, own = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments],
        stdin=own,
        stdout=own,
        stderr=own,
        cwd=APP.parent,
        env={**environ, "TERM": "xterm", "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(own)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)

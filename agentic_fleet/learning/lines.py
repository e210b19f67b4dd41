"""A file of JSON lines that several processes append to: whole lines, two files at most, never a fatal tear.

Each line is one write to a file opened for appending, under its lock. A process that died in the middle of a line, or
a full disk, leaves a torn one: the next line begins on a new one, and readers skip what they cannot read.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: one write is one line there as well, but two processes may rotate at once
    fcntl = None  # type: ignore[assignment]  # the module does not exist on this platform

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of a file before it is put aside: some ten thousand runs. With the one put aside, twice as much is kept."""
_ATTEMPTS = 100  # to open a file that others keep putting aside


def append_line(path: Path, line: bytes, *, most: int = MOST_BYTES) -> None:
    """Add `line` (without its end) to the file, which is made, with its folder, when need be.

    A file that would grow beyond `most` bytes is put aside first, in place of the one put aside before. Blocks: call it
    in a worker thread. OSError when it cannot be written whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open_with_room(path, len(line) + 2, most)
    try:
        data = (b"" if _ends_whole(descriptor) else b"\n") + line + b"\n"
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, "the line was not written whole")
    finally:
        os.close(descriptor)  # and with it goes the lock


def read_lines(path: Path) -> Iterator[bytes]:
    """All lines, the oldest first; a torn one is among them. Blocks. OSError; a file that is not there has no lines."""
    for each in (put_aside(path), path):
        with suppress(FileNotFoundError), each.open("rb") as file:
            for line in file:
                if line.strip():
                    yield line


def put_aside(path: Path) -> Path:
    """Where the older lines are."""
    return path.with_name(path.name + ".1")


def _open_with_room(path: Path, needed: int, most: int) -> int:
    for _ in range(_ATTEMPTS):
        # for its owner only: the lines hold what people asked
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                if (size := os.fstat(descriptor).st_size) == 0 or size + needed <= most:
                    return descriptor
                os.replace(path, put_aside(path))
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise OSError(errno.EBUSY, "the file is put aside again and again")


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has that name: another process may have put it aside meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _ends_whole(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)  # where it reads; what is written goes to the end all the same
    return os.read(descriptor, 1) == b"\n"

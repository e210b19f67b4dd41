"""A file that several processes append lines to."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentic_fleet.learning.lines import append_line, put_aside, read_lines
from tests.faults.table import row

APPENDER = """
import sys
from pathlib import Path
from agentic_fleet.learning.lines import append_line
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    append_line(Path(sys.argv[1]), (sys.argv[2] * 300 + str(number)).encode(), most=int(sys.argv[4]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "lines.jsonl"


def appended_by(path: Path, *names: str, count: int, most: int) -> None:
    """Processes that append at the same time, `count` lines each."""
    command = [sys.executable, "-c", APPENDER, str(path)]
    started = [
        subprocess.Popen([*command, name, str(count), str(most)], stdin=subprocess.PIPE, text=True) for name in names
    ]
    for process in started:  # all of them have loaded by the time the last one is told to go
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_lines_come_back_in_order_and_the_folder_is_made(path: Path) -> None:
    assert list(read_lines(path)) == []
    for word in (b"one", b"two", b"three"):
        append_line(path, word)
    assert list(read_lines(path)) == [b"one\n", b"two\n", b"three\n"]
    assert path.stat().st_mode & 0o077 == 0, "it holds what people asked"


@row(39)
def test_two_processes_never_mix_their_lines(path: Path) -> None:
    appended_by(path, "a", "b", count=400, most=10_000_000)
    found = [line.decode().strip() for line in read_lines(path)]
    for name in "ab":
        assert [line for line in found if line[0] == name] == [name * 300 + str(number) for number in range(400)]
    assert len(found) == 800


def test_two_processes_that_fill_the_file_lose_only_what_is_older_than_two_files(path: Path) -> None:
    most = 40_000
    appended_by(path, "a", "b", count=400, most=most)
    assert path.stat().st_size <= most
    assert most / 2 < put_aside(path).stat().st_size <= most
    found = [line.decode().strip() for line in read_lines(path)]
    for name in "ab":
        mine = [int(line[300:]) for line in found if line[0] == name]
        assert all(line[:300] == line[0] * 300 for line in found)
        assert mine == sorted(mine)
    assert "399" in {line[300:] for line in found}


def test_a_full_file_is_put_aside_and_both_are_read(path: Path) -> None:
    for number in range(10):
        append_line(path, b"%03d" % number, most=20)
    assert (put_aside(path).read_bytes(), path.read_bytes()) == (b"004\n005\n006\n007\n", b"008\n009\n")
    assert [int(line) for line in read_lines(path)] == list(range(4, 10))


def test_a_line_larger_than_the_bound_is_kept_alone(path: Path) -> None:
    append_line(path, b"small", most=20)
    append_line(path, b"x" * 50, most=20)
    append_line(path, b"small", most=20)
    assert [len(line) for line in read_lines(path)] == [51, 6]


@row(38)
@pytest.mark.parametrize("torn", [b'{"half":', b"x", b"\xff\xfe"])
def test_a_torn_line_does_not_spoil_the_next_one(path: Path, torn: bytes) -> None:
    append_line(path, b"whole")
    with path.open("ab") as file:
        file.write(torn)
    append_line(path, b"next")
    assert list(read_lines(path)) == [b"whole\n", torn + b"\n", b"next\n"]


@row(38)
def test_a_disk_that_takes_half_a_line_is_told_and_the_next_line_is_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_line(path, b"first")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    with pytest.raises(OSError, match="not written whole") as raised:
        append_line(path, b"second")
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.undo()
    append_line(path, b"third")
    assert [line.strip() for line in read_lines(path)] == [b"first", b"sec", b"third"]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(OSError):
        append_line(tmp_path / "logs" / "lines.jsonl", b"line")

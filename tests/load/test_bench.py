"""The bench works: all of it, in small; what it prints and writes is whole. No figure is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.child import ROOT
from tests.load.crowd import text_frame

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' clocks from /proc")


def test_a_small_bench_fills_every_table_and_the_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.load", "--quick", "--json", str(tmp_path / "bench.json")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    written = json.loads((tmp_path / "bench.json").read_text())
    assert len(written["targets"]) == 16
    assert [metric["metric"] for metric in written["metrics"]][3] == "Concurrency issues"
    assert written["metrics"][3]["measured"].startswith("0 of 32 streams")
    cells = {(cell["transport"], cell["streams"], cell["pace"]) for cell in written["cells"]}
    assert cells == {(way, streams, pace) for way in ("sse", "websocket") for streams in (1, 3) for pace in (0, 20)}
    assert {cell["who"] for cell in written["cells"]} == {"fleet fast", "fleet delegated", "openai", "httpx"}
    numbers = [
        number for cell in written["cells"] for values in cell.values() if isinstance(values, list) for number in values
    ]
    assert len(numbers) == 32 * 7
    assert all(number >= 0 for number in numbers)
    for row in written["targets"]:
        assert f"| {row['figure']} | at " in ended.stdout
    for metric in written["metrics"]:
        assert f"| {' | '.join(metric.values())} |" in ended.stdout
    assert ended.stdout.count("\n| sse | ") == ended.stdout.count("\n| websocket | ") == 16


@pytest.mark.parametrize("size", [5, 125, 126, 70_000])
def test_the_frames_of_the_crowd_are_what_the_protocol_says(size: int) -> None:
    frame = text_frame(b"x" * size)
    length, rest = frame[1] & 0x7F, frame[2:]
    if length >= 126:
        wide = 2 if length == 126 else 8
        length, rest = int.from_bytes(rest[:wide], "big"), rest[wide:]
    assert (frame[0], length, rest) == (0x81, size, bytes(4) + b"x" * size)

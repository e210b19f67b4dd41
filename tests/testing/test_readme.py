"""What a stranger pastes works, and what is missing is named."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import agentic_fleet.testing
from agentic_fleet.testing.fleet import APP

ROOT = APP.parent


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )


def test_the_readmes_example_passes_as_it_stands(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Integration tests\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "test_example.py").write_text(example, encoding="utf-8")
    ended = python(tmp_path, "-m", "pytest", "-q", "-W", "error", "test_example.py")
    assert ended.returncode == 0, ended.stdout
    assert f"{example.count('def test_')} passed" in ended.stdout


@pytest.mark.parametrize("library", ["httpx", "httpx_sse"])
def test_a_missing_library_names_the_extra(tmp_path: Path, library: str) -> None:
    ended = python(tmp_path, "-c", f"import sys; sys.modules[{library!r}] = None; import agentic_fleet.testing")
    said = ended.stderr.strip().splitlines()[-1]
    assert said == (
        f"ModuleNotFoundError: agentic_fleet.testing needs {library}: "
        "install the extra, .venv/bin/pip install -e '.[testing]'"
    )


def test_the_service_does_without_the_extra(tmp_path: Path) -> None:
    blocked = "sys.modules['httpx_sse'] = sys.modules['agentic_fleet.testing'] = None"
    ended = python(tmp_path, "-c", f"import sys; {blocked}; import app, agentic_fleet.cli.ask")
    assert ended.returncode == 0, ended.stderr


def test_the_reference_names_everything() -> None:
    assert agentic_fleet.testing.__doc__
    for name in agentic_fleet.testing.__all__:
        assert f"`{name}" in agentic_fleet.testing.__doc__, name

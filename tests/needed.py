"""Programs that tests need and Python does not bring; `scripts/setup-peers` installs them."""

import os
import shutil

import pytest


def needed(program: str, *, folder: str = "") -> str:
    """The path of `program` (in `folder`, or on the PATH). Without it the test is skipped, in CI it fails."""
    found = shutil.which(program, path=folder or f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    return found or _missing(program)


def _missing(program: str) -> str:
    reason = f"{program} is not installed: run scripts/setup-peers as root, or install it by hand"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)

"""Programs that tests need and Python does not bring; `scripts/setup-peers` installs them.

Ask in a fixture that is not async: in an async one a skip would end the event loop that other tests share.
"""

import os
import shutil

import pytest


def needed(program: str) -> str:
    """The path of `program`. Without it the test is skipped, in CI it fails."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or missing(program)


def missing(what: str) -> str:
    reason = f"{what} is not installed: run scripts/setup-peers as root, or install it by hand"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)

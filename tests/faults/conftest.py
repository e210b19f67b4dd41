"""A model for these tests' processes; and the event loop that the deployed service uses, which matters for sockets."""

import os
from typing import Any

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": os.name == "posix"}

"""These tests run on the event loop that the deployed service runs on: it matters for sockets."""

import os
from typing import Any

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": os.name == "posix"}

"""A model for these tests' processes; and the event loop that the deployed service uses, which matters for sockets."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentic_fleet.testing import ScriptedModel


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": os.name == "posix"}


@pytest.fixture
async def fake() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running

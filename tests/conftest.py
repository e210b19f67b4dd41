"""What every test needs."""

from collections.abc import AsyncIterator

import pytest

from agentic_fleet.testing import ScriptedModel


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def fake() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel() as running:
        yield running

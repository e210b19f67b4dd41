"""An endpoint over real HTTP to a model that the test plays."""

from collections.abc import AsyncIterator

import pytest

from agentic_fleet.testing import ScriptedModel
from agentic_fleet.workflows.endpoint import Endpoint, open_session


@pytest.fixture
async def endpoint(fake: ScriptedModel) -> AsyncIterator[Endpoint]:
    async with open_session() as session:
        url = f"{fake.base_url}/chat/completions"
        yield Endpoint(session, url=url, headers={}, model="m-1", name="Model One", timeout=30)

"""A fake model over real HTTP, the session to reach it, and an endpoint on both."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from agentic_fleet.testing import ScriptedModel
from agentic_fleet.workflows import endpoint as endpoint_module
from agentic_fleet.workflows.endpoint import Endpoint, open_session


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


@pytest.fixture
def endpoint(fake: ScriptedModel, session: aiohttp.ClientSession) -> Endpoint:
    return endpoint_to(f"{fake.base_url}/chat/completions", session)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries at once; their number stays."""
    monkeypatch.setattr(endpoint_module, "PAUSES", (0.0,) * len(endpoint_module.PAUSES))


def endpoint_to(url: str, session: aiohttp.ClientSession, *, timeout: float = 30.0) -> Endpoint:
    headers = {"Authorization": "Bearer secret"}
    return Endpoint(session, url=url, headers=headers, model="m-1", name="Model One", timeout=timeout)

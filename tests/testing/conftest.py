"""One service for all tests that leave it as it is."""

from collections.abc import Iterator

import pytest

from agentic_fleet.testing import Fleet, ScriptedModel, running_fleet


@pytest.fixture(scope="session")
def shared_model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="session")
def fleet(shared_model: ScriptedModel) -> Iterator[Fleet]:
    with running_fleet(shared_model) as fleet:
        yield fleet


@pytest.fixture
def model(shared_model: ScriptedModel) -> Iterator[ScriptedModel]:
    """The fleet's, without a script and without a past."""
    shared_model.calls.clear()
    yield shared_model
    shared_model.release()
    shared_model.reply = None

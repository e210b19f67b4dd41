"""What the tests of tools share."""

from collections.abc import Iterator

import pytest

from tests.workflows.tools import samples


@pytest.fixture(autouse=True)
def fresh_samples() -> Iterator[None]:
    samples.runs.clear()
    for event in (samples.gate, samples.blocked, samples.freed):
        event.clear()
    yield
    samples.gate.set()

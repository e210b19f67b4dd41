"""The proxies, where a test asks for them by its parameter `kind`."""

import pytest

from tests.needed import needed


@pytest.fixture(autouse=True)
def proxy_is_installed(request: pytest.FixtureRequest) -> None:
    kind = request.getfixturevalue("kind") if "kind" in request.fixturenames else "nginx"
    if kind != "direct":
        needed(kind.partition("-")[0])

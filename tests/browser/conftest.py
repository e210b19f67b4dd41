"""A headless Chromium for pages of the service: `page` is an empty tab of a fresh profile.

    async def test_the_page_greets(page: Page) -> None:
        async with site() as it:
            await page.goto(it.url)

A test fails at its end when a script of the page had an uncaught error.
"""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright

from tests.browser.stage import Stage
from tests.needed import needed

FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no traffic but to loopback, whatever a page asks for
]
PATIENCE = 10_000  # milliseconds for each step of a test


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop for all tests of this folder, so that they share the browser."""
    return "asyncio"


@pytest.fixture(scope="session")
def executable() -> str:
    return needed("chromium")


@pytest.fixture(scope="session")
async def chromium(executable: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=FLAGS, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    profile = await chromium.new_context()
    profile.set_default_timeout(PATIENCE)
    tab = await profile.new_page()
    errors: list[Error] = []
    tab.on("pageerror", lambda error: errors.append(error))
    yield tab
    await profile.close()
    assert errors == []


@pytest.fixture
async def tab(page: Page) -> AsyncIterator[Page]:
    """A tab for the console, in which it may not even try what its own policy forbids."""
    refused: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Trusted" in message.text:
            refused.append(message.text)

    page.on("console", hear)
    await page.set_viewport_size({"width": 1280, "height": 800})
    yield page
    assert refused == []


@pytest.fixture
def stage() -> Iterator[Stage]:
    it = Stage()
    yield it
    it.close()

"""The browser fixture itself."""

from playwright.async_api import Page

from tests.web.site import site


async def test_a_page_of_the_service_is_opened_in_a_real_browser(page: Page) -> None:
    async with site() as it:
        response = await page.goto(it.url + "/health")
        assert response is not None and response.status == 200
        assert await page.evaluate("fetch('/ready').then(answer => answer.json())") == {"status": "ready"}

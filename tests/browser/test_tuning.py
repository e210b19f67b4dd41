"""The part of the learning page that optimises the decision programs, against answers of the service's own shapes."""

import json
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.stage import Stage, playing

AT = "2026-11-25T10:00:00.000Z"
PACKAGED = {"program_version": "packaged", "parent": None, "created_at": None, "optimizer": None, "examples": None}
SCORES = {"before": {"planner": {"score": 0.71}}, "after": {"planner": {"score": 0.784}}}

EXAMPLES = [
    {
        "workflow_id": f"r{nth}",
        "at": AT,
        "task": f"Task {nth}",
        "agents": ["coder"],
        "mode": "delegated",
        "quality_score": 9,
        "learned": not nth,
        "why": "of lower quality" if nth else "found good by people",
    }
    for nth in range(2)
]


class Workshop:
    """Answers for the service, in the browser: one job, which ends when it is told to."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.ended = ""
        self.in_force = "packaged"

    def job(self) -> dict[str, Any]:
        done = self.ended == "completed"
        details: dict[str, Any] = {"module_name": "planner", "config": {}}
        if done:
            told = {"outcome": "adopted", "note": "It is better.", "before": SCORES["before"]}
            details |= {**told, "metrics": SCORES["after"]}
        return {
            "job_id": "j1",
            "status": self.ended or "running",
            "created_at": AT,
            "message": "Measuring.",
            "error": None,
            "progress": 1.0 if done else 0.25,
            "progress_completed": bool(self.ended),
            "details": details,
        }

    def programs(self) -> list[dict[str, Any]]:
        made = {
            "program_version": "v1",
            "parent": "packaged",
            "created_at": AT,
            "optimizer": "bootstrap",
            "examples": 80,
        }
        found = [{**made, **SCORES, "changes": ["planner"]}] if self.ended == "completed" else []
        found.append({**PACKAGED, "before": {}, "after": {}, "changes": []})
        return [{**each, "in_force": each["program_version"] == self.in_force} for each in found]

    async def answer(self, route: Route) -> None:
        method, path = route.request.method, route.request.url.partition("/api/v1/")[2]
        if method == "POST" and path == "optimization/jobs":
            self.asked.append(route.request.post_data_json or {})
        elif path.endswith("/cancel"):
            self.ended = "cancelled"
        elif path.endswith("/adopt"):
            self.in_force = path.split("/")[2]
        elif path.startswith("dspy/examples"):
            return await route.fulfill(status=200, content_type="application/json", body=json.dumps(EXAMPLES))
        found: Any = {"planner": "classifier", "assessor": "rules", "program_version": self.in_force}
        if path == "dspy/programs":
            found = self.programs()
        elif path == "optimization/jobs" and method == "GET":
            found = [self.job()] if self.asked else []
        elif path.startswith("optimization"):
            found = self.job()
        await route.fulfill(status=200, content_type="application/json", body=json.dumps(found))


@pytest.fixture
async def workshop(tab: Page) -> Workshop:
    it = Workshop()
    for paths in ("optimization/**", "dspy/**"):
        await tab.route(f"**/api/v1/{paths}", it.answer)
    return it


async def test_an_optimisation_is_started_watched_and_rolled_back(tab: Page, stage: Stage, workshop: Workshop) -> None:
    async with playing(stage) as it:
        await tab.goto(f"{it.url}/#/learning")
        await expect(tab.get_by_text("Plans are made by the classifier")).to_be_visible()
        await tab.get_by_label("Which programs").select_option("planner")
        await tab.get_by_label("Least quality").fill("7")
        await tab.get_by_role("button", name="Start an optimisation").click()
        await expect(tab.get_by_role("progressbar")).to_have_attribute("value", "0.25")
        await expect(tab.get_by_role("button", name="Start an optimisation")).to_be_disabled()
        wanted = {"module_name": "planner", "auto_mode": "light", "use_history_examples": True}
        assert workshop.asked == [{**wanted, "history_min_quality": 7}]
        workshop.ended, workshop.in_force = "completed", "v1"
        await expect(tab.locator(".jobs")).to_contain_text("planner 71.0 % → 78.4 %")
        await expect(tab.locator(".jobs")).to_contain_text("adopted")
        await expect(tab.locator("tr", has_text="v1")).to_contain_text("in force")
        await tab.get_by_role("button", name="Roll back").click()
        await tab.get_by_role("dialog").get_by_role("button", name="Adopt").click()
        await expect(tab.locator("tr", has_text="packaged")).to_contain_text("in force")
        await tab.get_by_role("button", name="Adopt", exact=True).click()
        await tab.get_by_role("dialog").get_by_role("button", name="Adopt").click()
        await expect(tab.locator("tr", has_text="v1")).to_contain_text("in force")


async def test_what_runs_teach_is_listed_with_the_reason(tab: Page, stage: Stage, workshop: Workshop) -> None:
    async with playing(stage) as it:
        await tab.goto(f"{it.url}/#/learning")
        lines = tab.get_by_role("region", name="Examples").locator("tbody tr")
        await expect(lines).to_have_count(2)
        await expect(lines.first).to_contain_text("coder · delegated")
        await expect(lines.first.locator(".good")).to_have_text("found good by people")
        await expect(lines.last).to_contain_text("of lower quality")


async def test_who_is_no_operator_looks_on(tab: Page, stage: Stage, workshop: Workshop) -> None:
    keys = ("alice:alice-0123456789", "bob:bob-0123456789ab")
    async with playing(stage, api_keys=keys, operators=("bob",)) as it:
        workshop.ended, workshop.in_force = "completed", "v1"
        workshop.asked.append({})
        await tab.goto(f"{it.url}/#/learning")
        await tab.get_by_label("Your key").fill("alice-0123456789")
        await tab.get_by_role("button", name="Sign in").click()
        await tab.get_by_role("link", name="Learning").click()
        await expect(tab.get_by_text("Only operators change how the team decides.")).to_be_visible()
        await expect(tab.get_by_role("button", name="Start an optimisation")).to_be_disabled()
        await expect(tab.locator("tr", has_text="v1")).to_contain_text("in force")
        await expect(tab.get_by_role("button", name="Roll back")).to_have_count(0)


async def test_an_optimisation_can_be_cancelled(tab: Page, stage: Stage, workshop: Workshop) -> None:
    async with playing(stage) as it:
        workshop.asked.append({})
        await tab.goto(f"{it.url}/#/learning")
        await tab.locator(".jobs").get_by_role("button", name="Cancel").click()
        await expect(tab.locator(".jobs .state")).to_have_text("cancelled")
        await expect(tab.get_by_role("button", name="Start an optimisation")).to_be_enabled()


async def test_where_nothing_can_be_optimised_nothing_is_offered(tab: Page, stage: Stage) -> None:
    await tab.route("**/api/v1/optimization/**", lambda route: route.fulfill(status=404, body="{}"))
    async with playing(stage) as it:
        await tab.goto(f"{it.url}/#/learning")
        await expect(tab.get_by_role("heading", name="Quality over time")).to_be_visible()
        await expect(tab.get_by_text("No answer has a score yet.")).to_be_visible()
        await expect(tab.get_by_role("heading", name="Decision programs")).to_have_count(0)

"""The pages around the conversation, signing in, small screens and other senses."""

from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.stage import TYPE, Stage, answer, approval, ask, of, playing, question, thought
from tests.edge.fronts import PROXIES, fronted

KEY = "alice-0123456789"
AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
ANSWER = (
    "## Blue\n\nIt *is*, see [this](https://example.org).\n\n```py\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)


async def test_with_keys_a_visitor_signs_in_once_and_out(tab: Page, stage: Stage) -> None:
    async with playing(stage, api_keys=(f"alice:{KEY}",)) as it:
        await tab.goto(it.url)
        await tab.get_by_label("Your key").fill("wrong")
        await tab.get_by_role("button", name="Sign in").click()
        await expect(tab.get_by_role("alert")).to_have_text("This is no key of ours.")
        await tab.get_by_label("Your key").fill(KEY)
        await tab.keyboard.press("Enter")
        await expect(tab.locator("#caller")).to_have_text("alice")
        (cookie,) = await tab.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert await tab.evaluate("document.cookie + JSON.stringify(localStorage)") in ("{}", '{"fleet.wishes":"{}"}')
        await ask(tab)
        stage.answer("Blue.")
        await expect(answer(tab)).to_have_text("Blue.")
        await tab.reload()
        await expect(answer(tab)).to_have_text("Blue.")
        await tab.get_by_role("button", name="Sign out").click()
        await expect(tab.get_by_label("Your key")).to_be_visible()
        await expect(tab.get_by_text("Blue.")).to_be_hidden()
        assert await tab.context.cookies() == []


async def test_a_session_that_has_ended_asks_for_the_key_again(tab: Page, stage: Stage) -> None:
    async with playing(stage, api_keys=(f"alice:{KEY}",)) as it:
        await tab.goto(it.url)
        await tab.get_by_label("Your key").fill(KEY)
        await tab.keyboard.press("Enter")
        await expect(tab.locator("#caller")).to_have_text("alice")
        await tab.context.clear_cookies()
        await ask(tab)
        await expect(tab.get_by_label("Your key")).to_be_focused()


@pytest.mark.parametrize("kind", ["direct", *PROXIES])
async def test_under_a_path_everything_works_as_without(tab: Page, stage: Stage, kind: str) -> None:
    async with fronted(kind, "/fleet", stage, api_keys=(f"alice:{KEY}",)) as it:
        await tab.goto(f"{it.url}/")
        await tab.get_by_label("Your key").fill(KEY)
        await tab.keyboard.press("Enter")
        await ask(tab)
        stage.write("Blue")
        await expect(answer(tab)).to_have_text("Blue")
        stage.answer("Blue.")
        await expect(answer(tab)).to_have_text("Blue.")
        assert {cookie["path"] for cookie in await tab.context.cookies()} == {"/fleet/"}
        await tab.get_by_role("link", name="Agents").click()
        await expect(tab.locator(".card")).to_have_count(1)


async def test_the_agents_page_shows_who_is_there_and_what_works(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await tab.get_by_role("link", name="Agents").click()
        await expect(tab.locator(".card h3")).to_have_text(["researcher", "analyst", "writer"])
        await expect(tab.locator(".card").first).to_contain_text("Set LOOK_KEY.")
        await expect(tab.locator(".checks")).to_contain_text("It takes writes.")
        await expect(tab).to_have_title("Agents · AgenticFleet")
        await tab.go_back()
        await expect(tab.get_by_label("Your question")).to_be_visible()


async def test_runs_are_listed_filtered_and_played_again(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        run = await it.start("Why is the sky blue?")
        stage.tell(thought("analysis", "Simple."), of("writer", TYPE.AGENT_START))
        stage.write("It ", "scatters.")
        stage.answer("It scatters.")
        await it.runs.idle()
        left = await it.start("What is the time?")
        await it.http.post(f"/api/v1/runs/{left['run_id']}/cancel")
        await tab.goto(f"{it.url}/#/history")
        rows = tab.locator(".runs tbody tr:visible")
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text("cancelled")
        await tab.get_by_label("Words").fill("SKY")
        await expect(rows).to_have_count(1)
        await tab.get_by_label("Words").fill("")
        await tab.get_by_label("State").select_option("cancelled")
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("What is the time?")
        await tab.get_by_label("State").select_option("failed")
        await expect(tab.get_by_text("No runs.")).to_be_visible()
        await tab.get_by_label("State").select_option("completed")
        await tab.get_by_role("link", name="Why is the sky blue?").last.click()
        replay = tab.get_by_role("region", name="Replay")
        await expect(replay.locator(".markdown")).to_have_text("It scatters.")
        await expect(replay.get_by_text("Answered")).to_be_visible()
        await replay.get_by_label("Event").fill("4")
        await expect(replay.locator(".markdown")).to_have_text("It")
        await expect(replay.locator(".agent .head .state")).to_have_text("working")
        await replay.get_by_role("button", name="Play").click()
        await expect(replay.locator(".markdown")).to_have_text("It scatters.")
        await expect(replay.get_by_role("button", name="Play")).to_be_visible()
        await tab.get_by_role("link", name="Open the conversation").click()
        await expect(answer(tab)).to_have_text("It scatters.")
        assert run["conversation_id"] in tab.url


async def test_a_page_that_comes_late_is_not_shown_over_the_next(tab: Page, stage: Stage) -> None:
    held: list[Route] = []
    await tab.route("**/api/v1/history?*", lambda route: held.append(route))
    async with playing(stage) as it:
        await tab.goto(it.url)
        await tab.get_by_role("link", name="History").click()
        await expect(tab.locator("#title")).to_have_text("History")
        await tab.get_by_role("link", name="Agents").click()
        await expect(tab.locator(".card")).to_have_count(3)
        async with tab.expect_response("**/api/v1/history?*"):
            await held[0].fulfill(json=[])
        await tab.evaluate("new Promise(done => setTimeout(done))")
        await expect(tab.locator("#page h2").first).to_have_text("Agents")
        await expect(tab.locator("#title")).to_have_text("Agents")


async def test_a_page_that_cannot_be_read_says_why_and_can_be_tried_again(tab: Page, stage: Stage) -> None:
    await tab.route("**/api/v1/history?*", lambda route: route.abort())
    async with playing(stage) as it:
        await tab.goto(f"{it.url}/#/history")
        await expect(tab.locator("#page")).to_contain_text("The service cannot be reached.")
        await tab.unroute("**/api/v1/history?*")
        await tab.get_by_role("button", name="Try again").click()
        await expect(tab.locator("#page")).to_contain_text("No runs.")


async def test_on_a_phone_all_of_a_run_is_in_sight(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        stage.answer("There.", 9.0)
        await it.finished("Compare heat pumps and gas heating for an old house with radiators")
        await tab.set_viewport_size({"width": 390, "height": 844})
        await tab.goto(f"{it.url}/#/history")
        line = tab.locator(".runs tbody tr")
        await expect(line).to_contain_text("completed")
        for cell in await line.locator("td").all():
            await expect(cell).to_be_in_viewport(ratio=1)


async def test_what_runs_did_can_be_forgotten(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        for word in ("One", "Two", "Three"):
            await it.start(word)
            stage.answer(word)
            await it.runs.idle()
        await tab.goto(f"{it.url}/#/history")
        rows = tab.locator(".runs tbody tr")
        await expect(rows).to_have_count(3)
        await tab.get_by_role("link", name="Two").last.click()
        await tab.get_by_role("button", name="Forget", exact=True).click()  # not "Forget all", of the page before
        await tab.get_by_role("dialog").get_by_role("button", name="Forget").click()
        await expect(rows).to_have_count(2)
        await tab.get_by_role("button", name="Forget all").click()
        await tab.get_by_role("dialog").get_by_role("button", name="Forget").click()
        await expect(tab.get_by_text("No runs.")).to_be_visible()
        assert await it.get("/api/v1/history") == []
        assert len(await it.get("/api/v1/conversations")) == 3


async def test_people_have_the_last_word_on_quality_and_its_course_is_drawn(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(f"{it.url}/#/learning")
        await expect(tab.get_by_text("No answer has a score yet.")).to_be_visible()
        await tab.get_by_role("link", name="New chat").click()
        for score in (5.0, 8.0):
            await ask(tab)
            stage.answer("Blue.", score)
            await expect(tab.locator(".score").last).to_have_text(f"{score:g}/10")
        await tab.get_by_role("button", name="Bad answer").last.click()
        await expect(tab.locator(".score").last).to_have_text("2/10 low confidence")
        await expect(tab.get_by_role("button", name="Bad answer").last).to_have_attribute("aria-pressed", "true")
        await tab.get_by_role("button", name="Good answer").last.click()
        await expect(tab.locator(".score").last).to_have_text("9/10")
        await tab.get_by_role("link", name="Learning").click()
        await expect(tab.get_by_role("img")).to_have_accessible_name(
            "Quality of 2 answers from 0 to 10, on average 7, of the last ten 7."
        )
        await expect(tab.locator(".plot circle")).to_have_count(2)
        await expect(tab.locator(".plot .human")).to_have_count(1)


async def test_on_a_phone_the_panels_open_over_the_conversation(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.set_viewport_size({"width": 390, "height": 844})
        await tab.goto(it.url)
        await ask(tab)
        stage.tell(thought("analysis", "Simple."), of("writer", TYPE.AGENT_START))
        stage.write("x" * 300 + "\n\n```\n" + "y" * 300)
        await expect(answer(tab)).to_contain_text("y")
        writer = tab.get_by_role("region", name="writer")
        await expect(writer).to_be_hidden()
        await tab.get_by_role("button", name="The team at work").click()
        await expect(writer).to_be_visible()
        await expect(tab.get_by_role("button", name="Close the panel")).to_be_focused()
        await tab.keyboard.press("Escape")
        await expect(writer).to_be_hidden()
        await tab.get_by_role("button", name="Conversations", exact=True).click()
        await expect(tab.get_by_role("link", name="New chat")).to_be_visible()
        await tab.get_by_role("link", name="Agents").click()
        await expect(tab.locator(".card")).to_have_count(3)
        await expect(tab.get_by_role("link", name="New chat")).to_be_hidden()
        assert await tab.evaluate("document.documentElement.scrollWidth") == 390
        stage.answer("Done.")


async def test_everything_can_be_done_with_the_keyboard(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await expect(tab.get_by_label("Your question")).to_be_focused()
        await tab.keyboard.type("One\n")
        stage.ask(approval())
        await expect(tab.locator(".request")).to_be_visible()
        seen = []
        for _ in range(60):
            await tab.keyboard.press("Shift+Tab")
            seen.append(await tab.evaluate("document.activeElement.textContent || document.activeElement.id"))
            if seen[-1] == "Approve":
                break
        await tab.keyboard.press("Enter")
        stage.answer("Done.")
        await expect(answer(tab)).to_have_text("Done.")
        await expect(tab.get_by_label("Your question")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious(tab: Page, stage: Stage, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run scripts/setup-peers")
    script = AXE.read_text(encoding="utf-8")

    async def judge(view: str) -> None:
        await tab.evaluate(script)
        found = await tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (view, each["id"], [node["html"][:200] for node in each["nodes"]])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []

    await tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    async with playing(stage, api_keys=(f"alice:{KEY}",)) as it:
        await tab.goto(it.url)
        await judge("sign-in")
        await tab.get_by_label("Your key").fill(KEY)
        await tab.keyboard.press("Enter")
        await expect(tab.get_by_role("heading", name="What should the team do?")).to_be_visible()
        await judge("greeting")
        await ask(tab)
        stage.tell(thought("analysis", "Simple.", complexity="simple", decided_by="model"))
        stage.tell(thought("routing", "Writer.", mode="delegated", agents=["writer"], reason="Short.", steps=["Write"]))
        stage.tell(of("writer", TYPE.AGENT_START), of("writer", TYPE.REASONING_DELTA, reasoning="Hm."))
        stage.tell(of("writer", TYPE.TOOL_CALL, data={"tool": "look", "arguments": {"a": 1}, "call_id": "1"}))
        stage.tell(of("writer", TYPE.TOOL_RESULT, error="It failed.", data={"tool": "look", "call_id": "1"}))
        stage.ask(approval(), question())
        await expect(tab.locator(".request")).to_have_count(2)
        await judge("requests")
        await tab.get_by_role("button", name="Approve", exact=True).click()
        await tab.locator(".request").last.get_by_role("textbox").fill("Seven")
        await tab.get_by_role("button", name="Answer").click()
        stage.write(ANSWER)
        stage.tell(of("writer", TYPE.AGENT_COMPLETE), thought("execution", "Done."), thought("progress", "Refine."))
        stage.tell(thought("quality", "4 of 10.", 4.0, missing="Why"))
        stage.answer(ANSWER, 4.0)
        await expect(tab.get_by_text("4/10").first).to_be_visible()
        for fold in await tab.locator("#team details").all():
            await fold.evaluate("it => it.open = true")
        await judge("answer")
        pages = {"agents": ".card", "history": ".runs td", "history/RUN": ".replay", "learning": ".plot"}
        for page, sign in pages.items():
            run = (await it.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {KEY}"})).json()[0]["run_id"]
            await tab.goto(f"{it.url}/#/{page.replace('RUN', run)}")
            await expect(tab.locator(sign).first).to_be_visible()
            await judge(page)

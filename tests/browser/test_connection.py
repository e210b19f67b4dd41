"""The console page when the connection, the service or the page itself goes away and comes back."""

from datetime import datetime, timedelta
from pathlib import Path

from playwright.async_api import Page, Request, Response, expect

from tests.browser.cable import cable
from tests.browser.stage import TYPE, Stage, answer, ask, of, playing, question, thought

WORDS = [f"w{n} " for n in range(1, 61)]
BANNER = "#banner"


async def test_a_page_that_is_reloaded_meanwhile_shows_everything_once(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.tell(thought("analysis", "Simple."), of("writer", TYPE.AGENT_START))
        stage.write(*WORDS[:30])
        await expect(answer(tab)).to_contain_text("w30")
        await tab.reload()
        await expect(answer(tab)).to_have_text("".join(WORDS[:30]).strip())
        stage.write(*WORDS[30:])
        stage.answer("".join(WORDS))
        await expect(answer(tab)).to_have_text("".join(WORDS).strip())
        await expect(tab.locator(".turn")).to_have_count(1)
        await expect(tab.get_by_role("region", name="writer")).to_have_count(1)
        assert len(it.script.turns) == 1


async def test_a_lost_connection_is_shown_and_made_up_for(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it, cable(it.url) as line:
        await tab.goto(line.url)
        await ask(tab)
        stage.write(*WORDS[:10])
        await expect(answer(tab)).to_contain_text("w10")
        await expect(tab.locator(BANNER)).to_be_hidden()
        await line.pull()
        stage.write(*WORDS[10:50])
        await expect(tab.locator(BANNER)).to_be_visible()
        await line.plug(it.url)
        await tab.evaluate("dispatchEvent(new Event('online'))")  # a browser says so; it shortens the wait
        await expect(answer(tab)).to_have_text("".join(WORDS[:50]).strip())
        await expect(tab.locator(BANNER)).to_be_hidden()
        await line.pull()
        stage.write(*WORDS[50:])
        stage.answer("".join(WORDS))
        await it.runs.idle()
        await line.plug(it.url)
        await tab.evaluate("dispatchEvent(new Event('online'))")
        await expect(tab.get_by_text("8/10")).to_be_visible()
        await expect(answer(tab)).to_have_text("".join(WORDS).strip())
        await expect(tab.get_by_role("region", name="writer")).to_have_count(1)


async def test_a_service_that_answers_again_is_read_at_once(tab: Page, stage: Stage) -> None:
    start = datetime.now()
    async with playing(stage) as it, cable(it.url) as line:
        await tab.clock.install(time=start)
        await tab.goto(line.url)
        await ask(tab)
        stage.write(*WORDS[:10])
        await expect(answer(tab)).to_contain_text("w10")
        await tab.clock.pause_at(start + timedelta(seconds=30))  # after 45 s of silence the page would ask by itself
        failed: list[Request] = []
        tab.on("requestfailed", lambda request: failed.append(request))
        await line.pull()
        while len(failed) < 6:  # the pauses between two tries get longer
            await tab.clock.run_for(1000)
        found: list[Response] = []
        tab.on("response", lambda response: found.append(response))
        async with tab.expect_request("**/events?*"):  # it is not to wait once more
            await line.plug(it.url)
            while not found:
                await tab.clock.run_for(1000)
        await tab.clock.resume()
        stage.write(*WORDS[10:])
        await expect(answer(tab)).to_contain_text("w60")
        stage.answer("".join(WORDS))


async def test_a_question_whose_answer_got_lost_is_asked_once(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it, cable(it.url) as line:
        await tab.goto(line.url)
        await ask(tab, "First")
        stage.answer("One.")
        await expect(answer(tab)).to_have_text("One.")
        await line.pull()
        await ask(tab, "Second")
        await expect(tab.get_by_role("button", name="Send")).to_be_disabled()
        await line.plug(it.url)
        stage.answer("Two.")
        await expect(tab.locator(".turn")).to_have_count(2)
        await expect(answer(tab)).to_have_text("Two.")
        assert [turn.ask.message for turn in it.script.turns] == ["First", "Second"]


async def test_a_run_that_a_restart_has_interrupted_goes_on(tab: Page, stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "fleet.db"
    async with cable() as line:
        async with playing(stage, file=file) as first:
            await line.plug(first.url)
            await tab.goto(line.url)
            await ask(tab)
            stage.tell(thought("analysis", "Simple."), thought("routing", "Writer.", agents=["writer"]))
            stage.write(*WORDS[:10])
            await expect(answer(tab)).to_contain_text("w10")
        await expect(tab.locator(BANNER)).to_be_visible()
        async with playing(stage, file=file) as second:
            await line.plug(second.url)
            left = "The service stopped before the answer was complete."
            await expect(tab.locator(".foot .note")).to_have_text(left)
            await expect(tab.locator(BANNER)).to_be_hidden()
            await expect(tab.locator(".summary .state")).to_have_text("Interrupted")
            await expect(tab.get_by_role("region", name="writer")).to_contain_text("stopped")
            await tab.get_by_role("button", name="Go on").click()
            stage.write(*WORDS[:20])
            stage.answer("".join(WORDS[:20]))
            await expect(answer(tab)).to_have_text("".join(WORDS[:20]).strip())
            await expect(tab.locator(".round")).to_have_text("Resumed")
            await expect(tab.locator(".step.analysis")).to_have_count(1)


async def test_what_was_asked_elsewhere_is_there_when_one_comes_back(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab, "Mine")
        stage.answer("One.")
        await expect(answer(tab)).to_have_text("One.")
        (chat,) = await it.get("/api/v1/conversations")
        await it.ask(chat["id"], "Theirs")
        stage.ask(question())
        await tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(tab.locator(".turn")).to_have_count(2)
        await tab.locator(".request").get_by_role("textbox").fill("Seven")
        await tab.keyboard.press("Enter")
        stage.answer("Two.")
        await expect(answer(tab)).to_have_text("Two.")

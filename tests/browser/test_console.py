"""The console page in a real browser: what a visitor sees and can do."""

from typing import Any

from playwright.async_api import Page, Route, expect

from tests.browser.stage import TYPE, Stage, answer, approval, ask, of, plan, playing, question, thought

HOSTILE = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\n\n'
    "[a](javascript:alert(1)) [b](https://example.org/b 'x') ![c](https://example.org/c.png) <b>d</b>\n\n"
    '`<i>e</i>` "><svg onload=alert(1)>'
)


async def test_an_answer_appears_token_by_token_as_markdown(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.write("It **scat", "ters**:\n\n- blue\n", "- red\n")
        await expect(answer(tab).locator("li")).to_have_text(["blue", "red"])
        await expect(answer(tab).locator("strong")).to_have_text("scatters")
        await expect(tab.get_by_role("button", name="Stop", exact=True)).to_be_visible()
        rest = "\n```py\nprint(1)\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n"
        stage.write(rest)
        stage.answer("It **scatters**:\n\n- blue\n- red\n" + rest)
        await expect(answer(tab).locator("pre code")).to_have_text("print(1)")
        await expect(answer(tab).locator("td")).to_have_text(["1", "2"])
        await expect(tab.get_by_text("8/10")).to_be_visible()
        await expect(tab.get_by_role("button", name="Send")).to_be_visible()
        await expect(tab.locator("#said")).to_have_text("The answer is complete.")
        await tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
        for button, text in (("code", "print(1)"), ("foot", "It **scatters**:")):
            await tab.locator(f".{button}").get_by_role("button", name="Copy").click()
            await expect(tab.locator("#said")).to_have_text("Copied.")
            assert (await tab.evaluate("navigator.clipboard.readText()")).startswith(text)


async def test_no_text_of_models_tools_or_people_becomes_markup(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab, HOSTILE)
        stage.tell(thought("analysis", HOSTILE, complexity=HOSTILE, decided_by=HOSTILE))
        stage.tell(thought("routing", HOSTILE, agents=[HOSTILE], subtasks={HOSTILE: HOSTILE}, reason=HOSTILE))
        stage.tell(of(HOSTILE, TYPE.AGENT_START, message=HOSTILE), of(HOSTILE, TYPE.REASONING_DELTA, reasoning=HOSTILE))
        stage.tell(of(HOSTILE, TYPE.TOOL_CALL, data={"tool": HOSTILE, "arguments": {HOSTILE: HOSTILE}, "call_id": "1"}))
        stage.tell(of(HOSTILE, TYPE.TOOL_RESULT, data={"tool": HOSTILE, "result": HOSTILE, "call_id": "1"}))
        stage.ask(approval())
        await expect(tab.locator(".request pre")).to_contain_text("<b>Installer</b>")
        await tab.get_by_role("button", name="Approve", exact=True).click()
        stage.write(HOSTILE, by=HOSTILE)
        stage.answer(HOSTILE)
        await expect(answer(tab)).to_contain_text("<img src=x")
        await expect(tab.get_by_text("8/10")).to_be_visible()
        assert await tab.locator("img, #turns svg[onload], #turns script, #team-work b b, iframe").count() == 0
        assert await tab.evaluate("window.pwned") is None
        links = await answer(tab).locator("a").evaluate_all("all => all.map(each => [each.href, each.rel])")
        assert links == [
            ["https://example.org/b", "noopener noreferrer"],
            ["https://example.org/c.png", "noopener noreferrer"],
        ]


async def test_conversations_are_made_renamed_and_deleted_and_the_newest_is_first(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await expect(tab.get_by_text("No conversations yet.")).to_be_visible()
        names = tab.locator("#conversations a")
        for text in ("First question", "Second question"):
            await tab.get_by_role("link", name="New chat").click()
            await expect(tab.get_by_role("heading", name="What should the team do?")).to_be_visible()
            await ask(tab, text)
            stage.answer("Done.")
            await expect(answer(tab)).to_have_text("Done.")
        await expect(names).to_have_text(["Second question", "First question"])
        await tab.get_by_role("button", name="Rename First question").click()
        await tab.get_by_label("New title").fill("Older")
        await tab.keyboard.press("Enter")
        await expect(names).to_have_text(["Second question", "Older"])
        await tab.get_by_role("button", name="Rename Older").click()
        await tab.get_by_label("New title").fill("Never mind")
        await tab.keyboard.press("Escape")
        await names.nth(1).click()
        await expect(tab.locator(".question")).to_contain_text("First question")
        await expect(tab).to_have_title("Older · AgenticFleet")
        await tab.reload()
        await expect(names).to_have_text(["Second question", "Older"])
        await expect(answer(tab)).to_have_text("Done.")
        await tab.get_by_role("button", name="Delete Older").click()
        await tab.get_by_role("button", name="Cancel").click()
        await expect(names).to_have_count(2)
        await tab.get_by_role("button", name="Delete Older").click()
        await tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(names).to_have_text(["Second question"])
        await expect(tab.get_by_role("heading", name="What should the team do?")).to_be_visible()


async def test_a_question_is_asked_also_when_its_asker_looks_elsewhere(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await expect(tab.get_by_role("heading", name="What should the team do?")).to_be_visible()
        await tab.get_by_label("Your question").fill("Quick")
        await tab.evaluate("document.getElementById('send').click(); location.hash = '#/agents'")
        await expect(tab.locator("#conversations a")).to_have_text(["Quick"])
        stage.answer("Done.")
        await tab.locator("#conversations a").click()
        await expect(answer(tab)).to_have_text("Done.")
        assert len(it.script.turns) == 1


async def test_a_run_can_be_stopped_continued_and_asked_again(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab, "Go")
        stage.write("Half an")
        await expect(answer(tab)).to_have_text("Half an")
        await tab.get_by_role("button", name="Stop", exact=True).click()
        await expect(tab.locator(".note")).to_have_text("Stopped.")
        await expect(answer(tab)).to_have_text("Half an")
        await tab.get_by_role("button", name="Go on").click()
        stage.write("Whole.")
        stage.answer("Whole.")
        await expect(answer(tab)).to_have_text("Whole.")
        await tab.get_by_role("button", name="Try again").click()
        stage.answer("Another.")
        await expect(tab.locator(".turn")).to_have_count(2)
        await expect(answer(tab)).to_have_text("Another.")
        assert [turn.ask.message for turn in it.script.turns] == ["Go", "Go", "Go"]
        await tab.reload()
        await expect(tab.locator(".turn .markdown")).to_have_text(["Whole.", "Another."])


async def test_wishes_reach_the_team_and_are_remembered(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await tab.get_by_label("Mode").select_option("parallel")
        await tab.get_by_label("Reasoning effort").select_option("maximal")
        await tab.get_by_label("Approve plan").check()
        await ask(tab, "Hello\nthere")
        stage.answer("Hi.")
        await expect(answer(tab)).to_have_text("Hi.")
        asked = it.script.turns[0].ask
        assert (asked.mode, asked.reasoning_effort, asked.require_plan_approval) == ("parallel", "maximal", True)
        await tab.reload()
        await expect(tab.get_by_label("Mode")).to_have_value("parallel")
        await expect(tab.get_by_label("Approve plan")).to_be_checked()


async def test_the_team_is_seen_at_work(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        steps = tab.locator(".step:not([data-state=waiting]) h4")
        await expect(steps).to_have_text(["Analysis, working"])
        stage.tell(thought("analysis", "A complex task.", complexity="complex", decided_by="model"))
        await expect(steps).to_have_text(["Analysis, done", "Routing, working"])
        parts = {"researcher": "Find facts.", "writer": "Write."}
        stage.tell(thought("routing", "Handoff.", mode="handoff", agents=["researcher", "writer"], subtasks=parts))
        card = tab.get_by_role("region", name="researcher")
        await expect(card).to_contain_text("waiting")
        await expect(card).to_contain_text("Find facts.")
        stage.tell(of("researcher", TYPE.AGENT_START, message="Find facts."))
        await expect(card.locator(".head .state")).to_have_text("working")
        await expect(tab.locator(".turn .now")).to_have_text("researcher is working")
        call = {"tool": "look", "call_id": "1"}
        stage.tell(of("researcher", TYPE.TOOL_CALL, data={**call, "arguments": {"word": "sky"}}))
        stage.tell(
            of("researcher", TYPE.AGENT_DELTA, delta="The sky "), of("researcher", TYPE.AGENT_DELTA, delta="is.")
        )
        await card.get_by_text("look").click()
        await expect(card.locator(".tool pre").first).to_contain_text('"word": "sky"')
        stage.tell(of("researcher", TYPE.TOOL_RESULT, data={**call, "result": "blue"}))
        await expect(card.locator(".tool pre").last).to_have_text("blue")
        await expect(card.get_by_text("The sky is.")).to_be_hidden()
        await card.get_by_text("Text", exact=True).click()
        await expect(card.get_by_text("The sky is.")).to_be_visible()
        stage.tell(of("researcher", TYPE.AGENT_COMPLETE))
        await expect(card.locator(".head .state")).to_have_text("done")
        await expect(card.locator(".time")).to_contain_text("≈ 3 tokens")


async def test_handoffs_verdicts_and_rounds_are_seen(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.tell(thought("analysis", "A complex task."), thought("routing", "Handoff.", agents=["researcher"]))
        stage.tell(of("researcher", TYPE.AGENT_START), of("researcher", TYPE.AGENT_COMPLETE))
        moved: dict[str, Any] = {"from": "researcher", "to": "writer", "reason": "The facts are there."}
        stage.tell(thought("handoff", "Handed over.", **moved), of("writer", TYPE.AGENT_START))
        await expect(tab.locator(".handoff")).to_have_text("researcher → writerThe facts are there.")
        stage.write("Blue.")
        stage.tell(of("writer", TYPE.AGENT_COMPLETE), thought("execution", "Both finished.", agents=["researcher"]))
        stage.tell(thought("progress", "It could be better.", verdict="refine"))
        stage.tell(thought("quality", "4 of 10. Why is missing.", 4.0, missing="Why is missing."))
        again = {"round": 2, "of": 2, "missing": "Why is missing."}
        stage.tell(of("orchestrator", TYPE.ORCHESTRATOR_MESSAGE, kind="refinement", message="Again.", data=again))
        await expect(tab.locator(".round")).to_contain_text("Missing: Why is missing.")
        await expect(answer(tab)).to_have_text("Blue.")
        stage.tell(of("writer", TYPE.AGENT_START))
        stage.write("Blue, by scattering.")
        await expect(answer(tab)).to_have_text("Blue, by scattering.")
        stage.tell(of("writer", TYPE.AGENT_COMPLETE, error="It broke off."))
        stage.tell(thought("execution", "Done."), thought("progress", "Done."), thought("quality", "9 of 10.", 9.0))
        stage.answer("Blue, by scattering.", 9.0)
        await expect(tab.locator(".summary .state")).to_have_text("Answered")
        await expect(tab.locator("meter")).to_have_count(2)
        await expect(tab.get_by_text("It broke off.")).to_be_visible()
        told = await tab.locator(".steps").inner_text()
        await tab.reload()
        await expect(tab.locator(".summary .state")).to_have_text("Answered")
        assert await tab.locator(".steps").inner_text() == told, "the log tells it again"


async def test_people_are_asked_and_their_answers_reach_the_run(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.ask(approval(), plan(), question())
        cards = tab.locator(".request")
        await expect(cards).to_have_count(3)
        await expect(tab.locator(".turn .now")).to_have_text("Waiting for you")
        await cards.nth(0).get_by_role("textbox").fill("Too much")
        await cards.nth(0).get_by_role("button", name="Decline").click()
        await expect(cards.nth(0).locator(".outcome")).to_have_text("Declined: Too much")
        await cards.nth(1).get_by_role("button", name="Ask for changes").click()
        await expect(cards.nth(1).get_by_role("textbox")).to_be_focused()
        await cards.nth(1).get_by_role("textbox").fill("Let the analyst check")
        await tab.keyboard.press("Enter")
        await expect(cards.nth(1).locator(".outcome")).to_have_text("Answered: Let the analyst check")
        run = (await it.get("/api/v1/runs"))[0]["run_id"]
        elsewhere = {"request_id": "q1", "response": "Number 7"}
        assert (await it.http.post(f"/api/v1/runs/{run}/responses", json=elsewhere)).status_code == 200
        await expect(cards.nth(2).locator(".outcome")).to_have_text("Answered: Number 7")
        stage.answer("All right.")
        await expect(answer(tab)).to_have_text("All right.")
        assert it.script.turns[-1].answers == {
            "a1": {"approved": False, "comment": "Too much"},
            "p1": "Let the analyst check",
            "q1": "Number 7",
        }


async def test_who_has_gone_on_to_the_next_question_stays_there(tab: Page, stage: Stage) -> None:
    held: list[Route] = []
    await tab.route("**/responses", lambda route: held.append(route))
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.ask(approval(), question())
        next_one = tab.locator(".request").last.get_by_role("textbox")
        async with tab.expect_request("**/responses"):
            await tab.get_by_role("button", name="Approve", exact=True).click()
        await next_one.fill("Num")
        await held[0].continue_()
        await expect(tab.locator(".request .outcome")).to_have_text("Approved.")
        await tab.keyboard.type("ber 7")
        await expect(next_one).to_have_value("Number 7")


async def test_a_suspended_run_goes_on_when_it_is_answered(tab: Page, stage: Stage) -> None:
    async with playing(stage, input_timeout=0.05) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.ask(question())
        await expect(tab.locator(".note")).to_have_text("Suspended until its question is answered.")
        await tab.reload()
        await expect(tab.locator(".note")).to_have_text("Suspended until its question is answered.")
        await tab.locator(".request").get_by_role("textbox").fill("Number 7")
        stage.write("Thanks.")
        stage.answer("Thanks.")
        await tab.get_by_role("button", name="Answer").click()
        await expect(answer(tab)).to_have_text("Thanks.")
        await expect(tab.locator(".request")).to_have_count(1)


async def test_nothing_of_a_stopped_run_seems_to_be_at_work(tab: Page, stage: Stage) -> None:
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.tell(thought("analysis", "Simple."), thought("routing", "Analyst.", agents=["analyst"]))
        stage.tell(of("analyst", TYPE.AGENT_START))
        stage.tell(of("analyst", TYPE.TOOL_CALL, data={"tool": "count", "call_id": "1", "arguments": {}}))
        tool = tab.locator(".tool")
        await expect(tool).to_contain_text("working")
        await tab.get_by_role("button", name="Stop", exact=True).click()
        await expect(tab.locator(".summary .state")).to_have_text("Cancelled")
        await expect(tool).to_contain_text("stopped")
        await expect(tab.get_by_role("region", name="analyst")).to_contain_text("stopped")
        await expect(tab.locator(".step.execution h4")).to_have_text("Execution, stopped")
        await expect(tab.locator("#team [data-state=working]")).to_have_count(0)


async def test_a_failure_says_why_and_can_be_tried_again(tab: Page, stage: Stage) -> None:
    async with playing(stage, run_timeout=0.1) as it:
        await tab.goto(it.url)
        await ask(tab)
        await expect(tab.locator(".foot .failed")).to_have_text("The run took longer than 0.1 s.")
        stage.answer("There.")
        await tab.get_by_role("button", name="Try again").click()
        await expect(answer(tab)).to_have_text("There.")


async def test_a_refusal_is_told_and_the_question_is_kept(tab: Page, stage: Stage) -> None:
    async with playing(stage, max_runs=1) as it:
        await it.start("somebody else's")
        await tab.goto(it.url)
        await ask(tab, "Mine")
        note = tab.get_by_role("alert").filter(has_text="All 1 runs are taken.")
        await expect(note).to_be_visible()
        await expect(tab.get_by_label("Your question")).to_have_value("Mine")
        told, written = await note.bounding_box(), await tab.locator("#composer").bounding_box()
        assert told and written and told["y"] + told["height"] < written["y"], "it covers what was written"


async def test_a_long_answer_is_whole_and_what_is_settled_is_left_alone(tab: Page, stage: Stage) -> None:
    words = [f"w{n} " if n % 50 else f"w{n}\n\n" for n in range(1, 5001)]
    async with playing(stage) as it:
        await tab.goto(it.url)
        await ask(tab)
        stage.write(*words[:100])
        await expect(answer(tab)).to_contain_text("w100")
        await answer(tab).locator("p").first.evaluate("it => it.marked = true")
        stage.write(*words[100:])
        await expect(answer(tab)).to_contain_text("w5000")
        stage.answer("".join(words))
        await expect(tab.get_by_text("8/10")).to_be_visible()
        assert await answer(tab).locator("p").first.evaluate("it => it.marked")
        shown = await answer(tab).evaluate("it => it.textContent.match(/w\\d+/g)")
        assert shown == [f"w{n}" for n in range(1, 5001)]

"""Pictures of the console for people to look at, in `.var/screens`: wide and on a phone, light and dark."""

from pathlib import Path
from typing import Literal

import anyio
import pytest
from playwright.async_api import Page, expect

from tests.browser.stage import TYPE, Stage, approval, ask, of, playing, thought

FOLDER = Path(__file__).parents[2] / ".var" / "screens"
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
TASK = "Compare heat pumps and gas heating"
ANSWER = """A heat pump moves heat instead of making it: **one unit of electricity** becomes three or four of heat.

| | Heat pump | Gas |
|---|---:|---:|
| Installation | 18,000 € | 9,000 € |
| Energy a year | 1,100 € | 1,900 € |
| CO₂ a year | 0.9 t | 3.8 t |

1. Ask for the *flow temperature* of your radiators.
2. Below 55 °C a heat pump pays off, here after eleven years:

```python
years = (18_000 - 9_000) / (1_900 - 1_100)  # 11.25
```
"""


def work(stage: Stage) -> None:
    parts = {"researcher": "Gather what is known about both.", "analyst": "Compare the costs over fifteen years."}
    plan = {"mode": "parallel", "agents": list(parts), "subtasks": parts, "reason": "Two parts.", "decided_by": "model"}
    call = {"tool": "calculate", "call_id": "1"}
    stage.tell(
        thought("analysis", "A complex task: research, analysis.", complexity="complex", decided_by="model"),
        thought("routing", "Researcher and analyst: parallel.", None, **plan),
        *(of(name, TYPE.AGENT_START, message=part) for name, part in parts.items()),
        of("analyst", TYPE.REASONING_DELTA, reasoning="Installation and energy, added up."),
        of("analyst", TYPE.TOOL_CALL, data={**call, "arguments": {"expression": "9000/800"}}),
        of("analyst", TYPE.TOOL_RESULT, data={**call, "result": "11.25"}),
        of("analyst", TYPE.AGENT_DELTA, delta="It pays off after eleven years. " * 9),
        of("researcher", TYPE.AGENT_DELTA, delta="Heat pumps move heat, gas makes it. " * 12),
        of("researcher", TYPE.AGENT_COMPLETE),
    )


def finish(stage: Stage) -> None:
    again = {"round": 2, "of": 2, "missing": "The figures."}
    stage.tell(
        of("analyst", TYPE.AGENT_COMPLETE),
        thought("execution", "Researcher and analyst finished."),
        thought("progress", "The answer could be better.", verdict="refine"),
        thought("quality", "4 of 10. The figures are missing.", 4.0),
        of("orchestrator", TYPE.ORCHESTRATOR_MESSAGE, kind="refinement", message="Again.", data=again),
        of("writer", TYPE.AGENT_START, message="Make one answer of the reports."),
    )
    stage.write(ANSWER)
    stage.tell(
        of("writer", TYPE.AGENT_COMPLETE),
        thought("execution", "Writer finished."),
        thought("progress", "The answer is complete.", verdict="complete"),
        thought("quality", "8.5 of 10.", 8.5, decided_by="model"),
    )
    stage.answer(ANSWER, 8.5)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_pictures_are_taken(tab: Page, stage: Stage, size: str, scheme: Literal["light", "dark"]) -> None:
    async def shoot(name: str) -> None:
        picture = await tab.screenshot(animations="disabled")
        await anyio.Path(FOLDER / f"{name}-{size}-{scheme}.png").write_bytes(picture)

    await anyio.Path(FOLDER).mkdir(parents=True, exist_ok=True)
    await tab.set_viewport_size(SIZES[size])  # type: ignore[arg-type]
    await tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    async with playing(stage) as it:
        await tab.goto(it.url)
        await expect(tab.locator(".greeting")).to_be_visible()
        await shoot("1-greeting")
        await ask(tab, TASK)
        work(stage)
        await expect(tab.locator(".now")).to_have_text("analyst is working")
        await shoot("2-working")
        stage.ask(approval())
        await expect(tab.locator(".request")).to_be_visible()
        await shoot("3-request")
        await tab.get_by_role("button", name="Approve", exact=True).click()
        finish(stage)
        await expect(tab.locator(".score")).to_have_text("8.5/10")
        await tab.locator("#scroller").evaluate("it => { it.scrollTop = 0 }")
        await shoot("4-answer")
        await tab.evaluate("document.dispatchEvent(new Event('show-team'))")
        await tab.locator("#team").evaluate("it => { it.scrollTop = 0 }")
        await shoot("5-team")
        for page, sign in (("agents", ".card"), ("learning", ".plot"), ("history", ".runs td")):
            await tab.goto(f"{it.url}/#/{page}")
            await expect(tab.locator(sign).first).to_be_visible()
            await shoot(f"6-{page}")
        await tab.locator(".runs a").first.click()
        await expect(tab.locator(".replay")).to_be_visible()
        await shoot("7-replay")

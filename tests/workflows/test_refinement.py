"""Better answers in more rounds, over real HTTP: what sends an answer back, what wins, and where it ends."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.workflows.endpoint import Endpoint
from tests.workflows.team import Screen, bounded, decision, finished, fleet_over, plan, says, turn

_TYPE = StreamEventType


class Rounds:
    """In each round the writer says one of `texts`, which gets one of `scores`."""

    def __init__(self, texts: Sequence[str | Reply], scores: Sequence[float]) -> None:
        self._texts = iter(texts)
        self._scores = iter(scores)
        self.asked: list[str] = []  # of the writer

    def __call__(self, body: Body) -> Reply:
        match decision(body):
            case "plan":
                return says(json.dumps(plan("delegated", "writer")))
            case "assessment":
                said: dict[str, Any] = {"verdict": "refine", "score": next(self._scores), "missing": "The poem."}
                return says(json.dumps(said))
        self.asked.append(body["messages"][-1]["content"])
        text = next(self._texts)
        return text if isinstance(text, Reply) else says(*text.split("|"))


async def test_a_poor_answer_goes_back_with_what_is_missing_and_the_better_one_wins(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = rounds = Rounds(["Tides| are.", "O| moon!"], [3, 8])
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), screen)
    assert (result.text, result.quality_score, result.quality_flag) == ("O moon!", 8, None)
    assert rounds.asked == [
        turn().ask.message,
        f"{turn().ask.message}\n\nThe last answer was:\nTides are.\n\n"
        "What is missing: The poem.\n\nGive a better, complete answer.",
    ]
    assert len(fake.calls) == 5


async def test_each_round_is_visible_and_the_last_deltas_are_the_last_rounds(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    fake.reply = Rounds(["Tides| are.", "O| moon!"], [3, 8])
    screen = Screen()
    with anyio.fail_after(10):
        await finished(fleet_over(endpoint), turn(), screen)
    one_round = [
        "agent.start writer",
        "response.delta writer",
        "agent.output writer",
        "agent.complete writer",
        "orchestrator.thought execution",
        "orchestrator.thought progress",
        "orchestrator.thought quality",
    ]
    assert screen.story()[3:] == [*one_round, "orchestrator.message refinement", *one_round]
    for kind in ("execution", "progress", "quality"):
        assert [data["round"] for data in screen.thoughts(kind)] == [1, 2]
    (again,) = [event for event in screen.events if event.kind == "refinement"]
    assert again.data == {"round": 2, "of": 2, "missing": "The poem."}
    assert Screen(screen.events[screen.events.index(again) :]).text() == "O moon!"


async def test_a_worse_version_does_not_win(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Rounds(["Good.", "Bad."], [5, 2])
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), Screen())
    assert (result.text, result.quality_score, result.quality_flag) == ("Good.", 5, "low_confidence")


@pytest.mark.parametrize(
    ("scores", "made"),
    [
        ([6], 1),  # good enough at once
        ([2, 2.4], 2),  # hardly better: no third
        ([2, 3, 4, 5, 5.5], 4),  # better and better: until the bound
        ([2, 4, 3, 5], 3),  # worse: the second wins
    ],
)
async def test_rounds_end_where_they_do_not_help(
    fake: ScriptedModel, endpoint: Endpoint, scores: list[float], made: int
) -> None:
    fake.reply = rounds = Rounds(["a", "b", "c", "d", "e"], scores)
    with anyio.fail_after(10):
        fleet = fleet_over(endpoint, roster=bounded(max_refinements=3, min_improvement=0.5, pass_score=6))
        result = await finished(fleet, turn(), Screen())
    assert len(rounds.asked) == made
    assert result.quality_score == max(scores[:made])


async def test_a_third_round_improves_on_the_second(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = rounds = Rounds(["One.", "Two.", "Three."], [2, 4, 9])
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint, roster=bounded(max_refinements=2)), turn(), Screen())
    assert result.text == "Three."
    assert "The last answer was:\nTwo." in rounds.asked[2]
    assert "One." not in rounds.asked[2]


async def test_a_fast_answer_is_never_refined(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: says("I am sorry, I cannot.")
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(mode="fast"), screen)
    assert len(fake.calls) == 1
    assert result.quality_flag == "refusal"


async def test_rules_send_an_answer_back_too(fake: ScriptedModel, endpoint: Endpoint) -> None:
    texts = iter(["I am sorry, I cannot.", "Tides come and go."])
    fake.reply = lambda body: says(next(texts))
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint, by_model=False), turn(mode="delegated"), Screen())
    assert result.text == "Tides come and go."


async def test_a_refinement_that_fails_leaves_the_answer_before_it(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Rounds(["Good.", Reply(status=400)], [5])
    screen = Screen()
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), turn(), screen)
    assert (result.text, result.quality_score) == ("Good.", 5)
    assert screen.thoughts("execution")[1]["agents"] == []
    assert screen.story()[-2:] == ["agent.complete writer", "orchestrator.thought execution"]


async def test_a_first_round_that_fails_fails_the_run(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = Rounds([Reply(status=400)], [])
    with anyio.fail_after(10), pytest.raises(ModelFailed):
        await fleet_over(endpoint).run(turn(), Screen())

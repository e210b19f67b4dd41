"""A plan and the human who must approve it: go on, or plan again with the changes they want.

Each plan made on the way is kept as a step, so that the run asks the same questions when it is carried out again.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.errors import FleetError
from agentic_fleet.workflows.desk import Desk
from agentic_fleet.workflows.plans import Plan
from agentic_fleet.workflows.tools.verdicts import read_verdict

MOST_CHANGES = 5  # rounds of planning; a human who wants more of them wants another question
_CHARACTERS = 2_000  # of one answer that the planner reads
_FINE = frozenset({"go", "continue", "confirm", "confirmed", "accepted", "looks good", "lgtm", "fine"})
_WORDS_IN = ("changes", "feedback", "comment", "reason", "message", "text")


async def approved(plan: Plan, desk: Desk, replan: Callable[[Sequence[str]], Awaitable[Plan]]) -> Plan:
    """The plan that the human agrees to. `replan` gets all changes so far, oldest first.

    Raises Paused while there is no answer, FleetError after MOST_CHANGES.
    """
    changes: list[str] = []
    while wanted := changes_in(desk.answer("PlanReview", _shown(plan))):
        if len(changes) == MOST_CHANGES:
            raise FleetError(f"The plan was changed {MOST_CHANGES} times and is still not approved.")
        changes.append(wanted)
        step = await desk.step("plan", jsontext.encode(changes))
        if step.value is not None:
            plan = msgspec.json.decode(step.value, type=Plan)
        else:
            plan = await replan(changes)
            await desk.keep(step, jsontext.encode(plan))
    return plan


def _shown(plan: Plan) -> Any:
    """As JSON, and the same whether it was made for this run or for an equal question before: a human who has agreed
    to it is not asked again."""
    return msgspec.json.decode(jsontext.encode(replace(plan, cached=False)))


def changes_in(answer: Any) -> str:
    """What the human wants changed, in words; empty when the answer approves."""
    approves, said = read_verdict(answer)
    if approves or said.strip(" .!").casefold() in _FINE:
        return ""
    if isinstance(answer, Mapping):
        said = next((text for key in _WORDS_IN if isinstance(text := answer.get(key), str)), said)
    return said.strip()[:_CHARACTERS] or "The user wants another plan."

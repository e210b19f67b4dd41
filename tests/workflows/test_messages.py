"""What passes between the phases: kept as it is, gone on from, and not misread when it has changed."""

import hashlib
from typing import Any

import anyio
import msgspec
import pytest

from agentic_fleet import jsontext
from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import ScriptedModel
from agentic_fleet.turns import Checkpoint
from agentic_fleet.workflows.checkpoints import FORMAT, Checkpoints, beginning
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.messages import Analysed, Assessed, Begun, Draft, Message, Routed, Settled, Worked
from agentic_fleet.workflows.modes import Answer
from agentic_fleet.workflows.plans import Assessment, Plan
from tests.workflows.team import (
    PHASES,
    Notebook,
    Screen,
    Script,
    finished,
    fleet_over,
    resumed,
    says,
    turn,
)

_TYPE = StreamEventType

PLAN = Plan(
    complexity="complex",
    mode="parallel",
    agents=("researcher", "coder"),
    subtasks={"coder": "x"},
    reason="r",
    decided_by="rule",
)
ANSWER = Answer(text='"\u2028 \U0001f600', agent="writer", agents=("researcher",), failed={"coder": "late"})
DRAFT = Draft(answer=ANSWER, assessment=Assessment(verdict="refine", score=2.5, missing="All.", decided_by="model"))
TASK = Routed(plan=PLAN, round=2, best=DRAFT)

messages = pytest.mark.parametrize(
    "message",
    [
        Begun(),
        Analysed(plan=PLAN),
        TASK,
        Worked(task=TASK, answer=ANSWER),
        Assessed(task=TASK, draft=DRAFT),
        Settled(best=DRAFT),
    ],
    ids=lambda message: type(message).__name__,
)


async def kept(message: Message) -> Checkpoint:
    memory = Notebook()
    await Checkpoints(turn(memory=memory), Screen()).keep(message)
    (checkpoint,) = await memory.checkpoints()
    assert checkpoint.phase == message.phase
    return checkpoint


@messages
async def test_what_a_phase_is_given_is_found_again_as_it_was(message: Message) -> None:
    assert beginning(resumed(turn(), at=await kept(message))) == message


@messages
async def test_a_run_goes_on_from_whatever_a_phase_is_given(
    fake: ScriptedModel, endpoint: Endpoint, message: Message
) -> None:
    fake.reply = Script(says={"writer": says("A new answer.")})
    screen, first = Screen(), PHASES.index(message.phase)
    with anyio.fail_after(10):
        result = await finished(fleet_over(endpoint), resumed(turn(), at=await kept(message)), screen)
    assert result.text == ("A new answer." if first <= PHASES.index("execution") else ANSWER.text)
    thoughts = [thought.kind for thought in screen.of(_TYPE.ORCHESTRATOR_THOUGHT)]
    assert thoughts == ([] if isinstance(message, Settled) else PHASES[first:])


SHAPES = {"fleet/2": "5b1d9a4041b5e778"}
"""Of the messages in checkpoints, by the format that they came with. Whoever changes a message changes its shape here,
and gives the format a new number unless what was kept before can be read as what it is."""


def test_a_message_of_another_shape_has_another_format() -> None:
    schema = jsontext.encode(undescribed(msgspec.json.schema(Message)))
    assert hashlib.sha256(schema).hexdigest()[:16] == SHAPES[FORMAT]


def undescribed(schema: Any) -> Any:
    match schema:
        case dict():
            return {key: undescribed(value) for key, value in sorted(schema.items()) if key != "description"}
        case list():
            return [undescribed(value) for value in schema]
    return schema

"""The account of a run: a fold over its events, with a bound on everything."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_fleet import jsontext
from agentic_fleet.conversations import Message
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.learning.account import Account
from agentic_fleet.learning.history import StoredHistory
from tests.faults.table import row
from tests.learning.stage import USAGE, of, stage, team, thought

_TYPE = StreamEventType
CONNECTED = StreamEvent(type=_TYPE.CONNECTED)
SUSPENDED = StreamEvent(type=_TYPE.SUSPENDED, message="waiting")
DONE = StreamEvent(type=_TYPE.DONE)


def account(task: str = "t", **context: Any) -> Account:
    return Account(task, {"workflowId": "w", "created_at": 0, **context})


def asked(id: str = "q") -> StreamEvent:
    data = {"request_id": id, "request_type": "UserInput", "request": {}}
    return StreamEvent(type=_TYPE.ORCHESTRATOR_MESSAGE, kind="request", data=data)


def answered(id: str = "q", response: Any = "yes") -> StreamEvent:
    data = {"request_id": id, "response": response}
    return StreamEvent(type=_TYPE.ORCHESTRATOR_MESSAGE, kind="response", data=data)


def told(*events: tuple[int, StreamEvent]) -> dict[str, Any]:
    made = account()
    for at, event in events:
        made.tell(event, at)
    return made.whole


def test_phases_and_parts_take_the_time_between_their_events() -> None:
    whole = told(
        (100, CONNECTED),
        (150, thought("analysis")),
        (160, thought("routing")),
        (170, of(_TYPE.AGENT_START, "writer")),
        (180, of(_TYPE.TOOL_CALL, "writer", data={"tool": "look", "call_id": "1"})),
        (195, of(_TYPE.TOOL_RESULT, "writer", data={"tool": "look", "call_id": "1"})),
        (270, of(_TYPE.AGENT_COMPLETE, "writer", error="late", data={"usage": USAGE})),
        (300, thought("execution", agents=["writer"])),
    )
    assert [(phase["phase"], phase["ms"]) for phase in whole["phases"]] == [
        ("analysis", 50),
        ("routing", 10),
        ("execution", 140),
    ]
    assert whole["parts"] == [{"agent": "writer", "ms": 100, "usage": USAGE, "error": "late"}]
    assert whole["tools"] == [{"tool": "look", "agent": "writer", "ms": 15}]


def test_waiting_for_people_is_no_work() -> None:
    whole = told(
        (0, CONNECTED),
        (10, of(_TYPE.AGENT_START, "writer")),
        (20, asked("a")),
        (25, asked("b")),
        (40, answered("a")),
        (1020, answered("b")),
        (1030, of(_TYPE.AGENT_COMPLETE, "writer")),
        (1040, thought("execution", agents=["writer"])),
    )
    assert (whole["parts"][0]["ms"], whole["phases"][0]["ms"], whole["waited_ms"]) == (20, 40, 1000)


def test_a_life_that_an_answer_brought_back_waits_on_for_the_other_answer() -> None:
    whole = told(
        *((0, CONNECTED), (5, asked("a")), (6, asked("b")), (50, SUSPENDED), (50, DONE)),
        *((9000, CONNECTED), (9000, answered("a")), (9500, answered("b")), (9600, thought("execution", agents=["x"]))),
    )
    assert (whole["phases"][0]["ms"], whole["waited_ms"], whole["lives"]) == (100, 500, 2)


def test_a_life_that_asks_everything_again_forgets_what_was_open() -> None:
    whole = told(
        *((0, CONNECTED), (5, asked("a")), (50, SUSPENDED), (50, DONE)),
        *((9000, CONNECTED), (9010, thought("analysis")), (9020, asked("c")), (9100, answered("c"))),
    )
    assert (whole["phases"][0]["ms"], whole["waited_ms"]) == (10, 80)
    assert [each["request_id"] for each in whole["answers"]] == ["c"]


@row(66)
def test_a_clock_that_was_set_back_gives_no_negative_times() -> None:
    whole = told((500, CONNECTED), (100, thought("analysis")), (90, asked()), (50, answered()))
    assert (whole["phases"][0]["ms"], whole.get("waited_ms")) == (0, None)


def test_huge_texts_and_endless_lists_are_bounded() -> None:
    huge = "x" * 1_000_000
    history = [Message(id=str(n), conversation_id="c", role="user", content=huge, created_at=n) for n in range(300)]
    made = account(huge, history=history, metadata={"a": huge})
    made.tell(CONNECTED, 0)
    for number in range(5000):
        made.tell(of(_TYPE.TOOL_CALL, "writer", data={"tool": "look", "call_id": str(number)}), 1)
        made.tell(of(_TYPE.TOOL_RESULT, "writer", error=huge, data={"call_id": str(number)}), 2)
        made.tell(of(_TYPE.AGENT_COMPLETE, "writer", error=huge[:2000]), 3)
        made.tell(answered(str(number), {"deep": [huge[:5000]]}), 4)
    made.tell(thought("routing", agents=["a"], reason=huge), 5)
    made.tell(thought("quality", missing=huge), 5)
    made.tell(StreamEvent(type=_TYPE.RESPONSE_COMPLETED, message=huge), 6)
    assert len(made.whole["tools"]) == len(made.whole["parts"]) == len(made.whole["answers"]) == 200
    assert len(jsontext.encode(made.whole)) < 700_000


@given(
    st.lists(
        st.builds(
            StreamEvent,
            type=st.sampled_from(list(StreamEventType)),
            kind=st.none()
            | st.sampled_from(["analysis", "routing", "execution", "progress", "quality", "refinement", "other"]),
            data=st.none() | st.dictionaries(st.sampled_from(["agents", "usage", "call_id", "round"]), st.none()),
            message=st.none() | st.text(),
            error=st.none() | st.text(),
        ),
        max_size=30,
    )
)
def test_no_order_of_events_is_too_odd_for_an_account(events: list[StreamEvent]) -> None:
    made = account()
    for at, event in enumerate(events):
        made.tell(event, at)
    assert msgspec.json.decode(jsontext.encode(made.whole))["task"] == "t"


@pytest.mark.parametrize("odd", [{1, 2}, object(), float("nan"), {"a": object()}, b"bytes", None, [1, "a"]])
def test_what_somebody_says_of_an_execution_is_kept_as_json(odd: Any) -> None:
    made = account()
    made.say({"result": odd})
    assert "result" in msgspec.json.decode(jsontext.encode(made.whole))


async def test_an_account_read_from_the_log_is_the_one_that_was_kept(tmp_path: Path) -> None:
    async with stage(tmp_path, team) as at:
        execution = await at.done()
        state = await at.store.run(execution.workflow_id)
        made = Account("paint", {"workflowId": state.run_id, "created_at": state.created_at, "conversation_id": "c1"})
        async for event, when in StoredHistory(at.store).told(state.run_id):
            made.tell(event, when)
    quality = made.whole.pop("quality")
    assert _timeless({**made.whole, "quality": None}) == _timeless({**execution.account, "quality": None})
    assert (quality["score"], quality["by"]) == (execution.quality.score, execution.quality.by)
    assert abs(made.whole["completed_at"] - execution.account["completed_at"]) < 5000


def _timeless(value: Any) -> Any:
    """Without what a millisecond may change."""
    match value:
        case dict():
            gone = ("ms", "started_at", "completed_at", "start_time", "end_time")
            return {key: _timeless(inner) for key, inner in value.items() if key not in gone}
        case list():
            return [_timeless(inner) for inner in value]
        case _:
            return value

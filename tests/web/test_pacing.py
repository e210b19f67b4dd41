"""What a page of the chat protocol is given at once: joined without losing a character, and bounded."""

import json
from collections.abc import Sequence

import anyio
from hypothesis import given
from hypothesis import strategies as st

from agentic_fleet.events import Record, StreamEvent, StreamEventType, encode_event, lean
from agentic_fleet.web.pacing import AHEAD, DRAW, HELPING, Pace, merged

T = StreamEventType
TEXTS = st.text(max_size=8) | st.sampled_from(
    ['","', '\\","agent_id":"', '"', "\\", "\\\\", '","timestamp":"', "\u2028"]
)
DELTAS = st.builds(
    lambda type, text, agent: StreamEvent(
        type=type,
        delta=None if type is T.REASONING_DELTA else text,
        reasoning=text if type is T.REASONING_DELTA else None,
        agent_id=agent,
        author=agent,
    ),
    st.sampled_from([T.RESPONSE_DELTA, T.AGENT_DELTA, T.REASONING_DELTA]),
    TEXTS.filter(bool),
    st.sampled_from(["a", "b", None]),
)
OTHERS = st.sampled_from([StreamEvent(type=T.AGENT_START, agent_id="a"), StreamEvent(type=T.DONE)])


def records(events: Sequence[StreamEvent]) -> list[Record]:
    return [Record(at + 1, encode_event(event, workflow_id="w", at=1000 * at)) for at, event in enumerate(events)]


def spoken(found: Sequence[Record]) -> list[tuple[str, str | None, str]]:
    """Who has said what in which row, each row once."""
    rows: list[tuple[str, str | None, str]] = []
    for record in found:
        event = json.loads(record.body)
        who, text = (event["type"], event.get("agent_id")), event.get("delta") or event.get("reasoning") or ""
        if text and rows and rows[-1][:2] == who and rows[-1][2]:
            text = rows.pop()[2] + text
        rows.append((*who, text))
    return rows


def say(text: str, agent: str = "a", type: StreamEventType = T.RESPONSE_DELTA) -> StreamEvent:
    return StreamEvent(type=type, delta=text, agent_id=agent, author=agent)


@given(st.lists(DELTAS | OTHERS, max_size=12))
def test_joining_changes_no_word_no_order_and_no_position(events: list[StreamEvent]) -> None:
    before = records(events)
    after = list(merged(before))
    assert spoken(after) == spoken(before)
    assert [record.seq for record in after] == sorted({record.seq for record in after})
    assert after[-1:] == [] or after[-1].seq == before[-1].seq
    for left, right in zip(after, after[1:], strict=False):
        same = [json.loads(record.body) for record in (left, right)]
        joinable = "delta" in same[0]["type"] and same[0]["type"] == same[1]["type"]
        assert not (joinable and same[0].get("agent_id") == same[1].get("agent_id")), "a row was left in two"


def test_a_joined_event_is_the_last_one_with_all_the_words() -> None:
    row = records([say("a"), say('"b"'), say("\u00e9")])
    (joined,) = merged(row)
    assert json.loads(joined.body) == {**json.loads(row[-1].body), "delta": 'a"b"\u00e9'}
    assert json.loads(lean(joined.body)) == {
        "type": "response.delta",
        "delta": 'a"b"\u00e9',
        "agent_id": "a",
        "author": "a",
    }


async def test_a_helping_has_a_bounded_number_of_drawn_events_and_any_number_of_others() -> None:
    drawn = [StreamEvent(type=T.AGENT_START, agent_id=str(number)) for number in range(10)]
    undrawn = [say("x", agent, T.AGENT_DELTA) for agent in "ab" * 100]
    undrawn += [StreamEvent(type=type, agent_id="a", data={}) for type in (T.TOOL_CALL, T.TOOL_RESULT)]
    helpings = list(Pace().helpings(records([*undrawn, *drawn])))
    assert [len(helping) for helping in helpings] == [202 + HELPING, HELPING, 2]
    assert [record.seq for helping in helpings for record in helping] == list(range(1, 213))


async def test_the_first_events_are_not_held_back_and_the_many_that_follow_are() -> None:
    began, pace = anyio.current_time(), Pace()
    starts = records([StreamEvent(type=T.AGENT_START, agent_id=str(number)) for number in range(100)])
    held = round(AHEAD / DRAW)
    list(pace.helpings(starts[:held]))
    assert pace.due <= anyio.current_time() + 1e-9
    list(pace.helpings(starts[held:]))
    assert pace.due >= began + (100 - held) * DRAW - 1e-9


async def test_what_the_page_passes_over_holds_nothing_back() -> None:
    pace = Pace()
    list(pace.helpings(records([say("x", agent, T.AGENT_DELTA) for agent in "ab" * 1000])))
    assert pace.due <= anyio.current_time() + 1e-9

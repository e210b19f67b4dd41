"""What was said so far: the newest that fits, with both ends of what is long, and the same every time."""

from typing import Literal

import pytest
from agent_framework import CharacterEstimatorTokenizer

from agentic_fleet.conversations import Message
from agentic_fleet.workflows.agents import Bounds
from agentic_fleet.workflows.history import both_ends, history_messages, history_text, minutes


def bounds(**given: int) -> Bounds:
    return Bounds(fast_agent="a", synthesis_agent="a", **given)


def talk(*texts: str, first: Literal["user", "assistant"] = "user") -> list[Message]:
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    start = roles.index(first)
    return [
        Message(id=str(at), conversation_id="c1", role=roles[(start + at) % 2], content=text, created_at=at)
        for at, text in enumerate(texts)
    ]


async def test_a_short_conversation_is_passed_on_whole() -> None:
    kept = await history_messages(talk("Hi", "Hello!", "Tides?", "They rise."), bounds())
    assert [(m.role, m.text) for m in kept] == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "Tides?"),
        ("assistant", "They rise."),
    ]


async def test_of_many_messages_the_newest_are_passed_on_from_a_users_on() -> None:
    history = talk(*(f"message {at}" for at in range(20)))
    assert [m.text for m in await history_messages(history, bounds(history_messages=3))] == ["message 18", "message 19"]
    assert await history_messages(history, bounds(history_messages=0)) == []
    assert await history_messages(talk("Hello!", first="assistant"), bounds()) == []


@pytest.mark.parametrize("letter", ["x", "\n", '"', "\\", "é", "潮"])
async def test_what_is_passed_on_stays_within_its_tokens_and_never_loses_the_last_question(letter: str) -> None:
    history = talk(*(f"begin{letter * 9_000}end" for _ in range(6)))
    kept = await history_messages(history, bounds(history_tokens=600))
    assert [m.role for m in kept] == ["user", "assistant"]
    assert all(m.text.startswith("begin") and m.text.endswith("end") and "[...]" in m.text for m in kept)
    tokens = sum(CharacterEstimatorTokenizer().count_tokens(m.text) for m in kept)
    assert 150 < tokens <= 600


async def test_the_oldest_make_room_first() -> None:
    kept = await history_messages(talk("old " * 50, "old " * 50, "new?", "new."), bounds(history_tokens=100))
    assert [m.text for m in kept] == ["new?", "new."]


async def test_as_text_it_says_who_spoke() -> None:
    assert await history_text(talk("Tides?", "They rise."), bounds()) == "User: Tides?\nTeam: They rise."
    assert await history_text([], bounds()) == ""


def test_minutes_give_each_contribution_its_share() -> None:
    said = [("anna", "a" * 100), ("otto", "short"), ("anna", "b" * 10)]
    assert (
        minutes(said, 60)
        == "## anna\n" + "a" * 10 + "\n[...]\n" + "a" * 10 + "\n\n## otto\nshort\n\n## anna\n" + "b" * 10
    )
    assert minutes([], 60) == ""


@pytest.mark.parametrize(
    ("most", "cut"), [(6, "abcdef"), (5, "ab\n[...]\nef"), (1, "a\n[...]\nf"), (-9, "a\n[...]\nf")]
)
def test_of_a_long_text_both_ends_are_kept(most: int, cut: str) -> None:
    assert both_ends("abcdef", most) == cut

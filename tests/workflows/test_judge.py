"""What is said of an answer beside its score."""

import pytest

from agentic_fleet.workflows.judge import flag_of


@pytest.mark.parametrize(
    ("answer", "score", "flag"),
    [
        ("", 9.0, "empty"),
        (" \n\t", 0.0, "empty"),
        ("I'm sorry, I cannot help with that.", 9.0, "refusal"),
        ("As an AI, I have no opinion.", 3.0, "refusal"),
        ("I'm sorry to hear it. " + "Here is what to do about it. " * 20, 8.0, None),
        ("Tides are caused by the moon.", 5.9, "low_confidence"),
        ("Tides are caused by the moon.", 6.0, None),
    ],
)
def test_a_flag_follows_from_the_answer_first_and_from_its_score_then(
    answer: str, score: float, flag: str | None
) -> None:
    assert flag_of(answer, score, 6.0) == flag

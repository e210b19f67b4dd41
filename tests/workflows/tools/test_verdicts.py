"""What is not a clear yes is a no."""

from typing import Any

import pytest

from agentic_fleet.workflows.tools.verdicts import read_verdict


@pytest.mark.parametrize(
    "answer", [True, "yes", "Approve", " OK. ", "approved", {"approved": True}, {"approved": "yes"}]
)
def test_these_approve(answer: Any) -> None:
    assert read_verdict(answer)[0] is True


@pytest.mark.parametrize(
    "answer",
    [False, None, 1, "", "no", "yes, but later", {}, {"approved": False}, {"approved": 1}, {"ok": True}, ["yes"]],
)
def test_these_do_not(answer: Any) -> None:
    assert read_verdict(answer)[0] is False


def test_the_humans_words_are_kept() -> None:
    assert read_verdict("not today")[1] == "not today"
    assert read_verdict({"approved": False, "reason": "not today"})[1] == "not today"
    assert read_verdict({"approved": False, "reason": 3})[1] == ""

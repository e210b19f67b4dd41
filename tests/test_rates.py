"""How fast a caller may go."""

import pytest

from agentic_fleet.errors import TooFast
from agentic_fleet.rates import Rate


def test_a_minutes_worth_may_come_at_once_and_then_evenly() -> None:
    at = [0.0]
    rate = Rate(30, "runs", clock=lambda: at[0])
    for _ in range(30):
        rate.take("alice")
    with pytest.raises(TooFast, match="More than 30 runs a minute") as refusal:
        rate.take("alice")
    assert refusal.value.retry_after == 2
    at[0] += refusal.value.retry_after
    rate.take("alice")
    with pytest.raises(TooFast):
        rate.take("alice")


def test_a_refusal_costs_nothing_and_nobody_saves_more_than_a_minutes_worth() -> None:
    at = [0.0]
    rate = Rate(2, "runs", clock=lambda: at[0])
    rate.take("alice")
    rate.take("alice")
    for _ in range(100):
        with pytest.raises(TooFast):
            rate.take("alice")
    at[0] += 3600
    rate.take("alice")
    rate.take("alice")
    with pytest.raises(TooFast):
        rate.take("alice")


def test_callers_do_not_share_and_zero_is_no_limit() -> None:
    rate = Rate(1, "runs", clock=lambda: 0.0)
    rate.take("alice")
    rate.take("bob")
    free = Rate(0, "runs", clock=lambda: 0.0)
    for _ in range(1000):
        free.take("alice")

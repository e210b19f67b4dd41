"""No fault is forgotten: every row has a test, or a reason."""

from tests.faults.table import REASONS, ROWS, marks


def test_every_row_has_a_test_or_a_reason() -> None:
    shown = {number for number, _ in marks()}
    assert list(ROWS) == list(range(1, 73))
    assert shown | REASONS.keys() == ROWS.keys()
    assert not shown & REASONS.keys()

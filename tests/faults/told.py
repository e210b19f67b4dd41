"""The invariant: a log has no gap, and each life of its run ends in exactly one ending, followed by `done`."""

from agentic_fleet.events import ENDINGS
from agentic_fleet.testing import Events


def lives(log: Events) -> list[list[str]]:
    """The types of the events, one list for each time the run lived. What lives now is the last, without an end."""
    found: list[list[str]] = [[]]
    for kind in log.types:
        found[-1].append(kind)
        if kind == "done":
            found.append([])
    return found if found[-1] else found[:-1]


def assert_told(log: Events) -> None:
    """Of a run that has ended."""
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    for life in lives(log):
        assert life[-1] == "done"
        assert life[-2] in ENDINGS
        assert [kind in ENDINGS for kind in life].count(True) == 1
        assert "connected" not in life[1:]

"""A run's events for a page that draws at every one of them: adjacent deltas joined, and no faster than it can draw.

The page of the original AgenticFleet breaks down when some fifty drawn events reach it at once, as they do from a fast
model or when a stream is shown again. Joining costs no reader a character: the joined event has the id of its last
part, so resuming stays exact. What a page passes over is neither counted nor held back.
"""

import math
from collections.abc import Iterable, Iterator

import anyio

from agentic_fleet.events import Record

DRAW = 0.05
"""Seconds that a page is given to draw one event. Nobody sees faster; what comes meanwhile is joined."""
AHEAD = 1.0
"""Seconds by which the drawing may be behind: the first events of a stream are not held back."""
HELPING = 4
"""Drawn events in one write."""

_UNDRAWN = (b'{"type":"agent.delta"', b'{"type":"tool.')
"""How the events begin that the page passes over: they may be many."""
_HEADS = tuple(
    b'{"type":"%s","%s":"' % (type, field)
    for type, field in ((b"response.delta", b"delta"), (b"agent.delta", b"delta"), (b"reasoning.delta", b"reasoning"))
)
_TIME = len('"timestamp":"2000-01-01T00:00:00.000Z"}')
"""Bytes at the end of a body that differ between deltas of one agent."""


class Pace:
    """Of one stream."""

    def __init__(self) -> None:
        self._drawn = -math.inf  # when the page will have drawn all that it was given

    @property
    def due(self) -> float:
        """When the page may be given more, on the event loop's clock."""
        return self._drawn - AHEAD

    async def ready(self) -> None:
        await anyio.sleep_until(self.due)

    def helpings(self, records: Iterable[Record]) -> Iterator[list[Record]]:
        """The records, merged, in lists to give one by one, whenever it is `ready`."""
        helping: list[Record] = []
        drawn = 0
        for record in merged(records):
            counts = not record.body.startswith(_UNDRAWN)
            if drawn + counts > HELPING:
                yield self._given(helping, drawn)
                helping, drawn = [], 0
            helping.append(record)
            drawn += counts
        if helping:
            yield self._given(helping, drawn)

    def _given(self, helping: list[Record], drawn: int) -> list[Record]:
        self._drawn = max(self._drawn, anyio.current_time()) + drawn * DRAW
        return helping


def merged(records: Iterable[Record]) -> Iterator[Record]:
    """The records, with every row of deltas of one kind and one agent as a single record: the last one's."""
    row: list[Record] = []
    kind: tuple[bytes, bytes] | None = None
    for record in records:
        this = _kind(record.body)
        if row and (this is None or this != kind):
            yield _one(row)
            row = []
        row.append(record)
        kind = this
    if row:
        yield _one(row)


def _kind(body: bytes) -> tuple[bytes, bytes] | None:
    """What two deltas have in common when they may be joined; None for any other event."""
    for head in _HEADS:
        if body.startswith(head):
            return head, body[_end(body, head) : -_TIME]
    return None


def _one(row: list[Record]) -> Record:
    """The texts are joined as they are encoded: what is valid inside two JSON strings is valid inside one."""
    last = row[-1]
    if len(row) == 1:
        return last
    head = next(head for head in _HEADS if last.body.startswith(head))
    texts = [record.body[len(head) : _end(record.body, head)] for record in row]
    return Record(last.seq, b"".join((head, *texts, last.body[_end(last.body, head) :])))


def _end(body: bytes, head: bytes) -> int:
    """Where the text ends. Inside it, a quote has a backslash before it, so that these three bytes cannot occur."""
    return body.index(b'","', len(head))

"""Adjacent deltas as one event, for readers that draw a page at every event.

A page that is handed tokens faster than it can draw falls behind and, made with some frameworks, breaks down. Joining
what is ready costs no reader a character: the joined event has the id of its last part, so resuming stays exact.
"""

from collections.abc import Iterable, Iterator

from agentic_fleet.events import Record

_HEADS = tuple(
    b'{"type":"%s","%s":"' % (type, field)
    for type, field in ((b"response.delta", b"delta"), (b"agent.delta", b"delta"), (b"reasoning.delta", b"reasoning"))
)
_TIME = len('"timestamp":"2000-01-01T00:00:00.000Z"}')
"""Bytes at the end of a body that differ between deltas of one agent."""


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

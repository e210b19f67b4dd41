"""A run's log: appended to once, read from anywhere, by any number of cursors.

A cursor is an `int`, the `seq` of the last record its reader has. Replay, live tail, resume and slow readers are all
the same: `wait`, then `read`. Recent records are kept in memory; older ones, and those of finished runs, come from the
store.
"""

from collections.abc import Sequence

from agentic_fleet.events import Record
from agentic_fleet.runs.change import Change
from agentic_fleet.store import Store

WINDOW = 512 * 1024
"""Bytes of recent records kept in memory per live run; readers that are further behind read from the store."""
BATCH = 500
"""Records returned by one `read`: about 150 kB of tokens, one write to a socket."""


class RunLog:
    """Only records that the store has kept are published here: what a reader saw survives a crash."""

    def __init__(self, run_id: str, store: Store, *, last: int = 0, closed: bool = False) -> None:
        self.run_id = run_id
        self.last = last
        self.closed = closed
        self._store = store
        self._window: list[Record] = []  # the newest records, without gaps, ending at `last`
        self._bytes = 0
        self._changed = Change()
        self._also: set[Change] = set()  # of those who wait for something else besides

    def publish(self, records: Sequence[Record]) -> None:
        """Show records that are already stored; they follow `last` without a gap."""
        self._window.extend(records)
        self._bytes += sum(len(record.body) for record in records)
        self.last = records[-1].seq
        self._trim()
        self._tell()

    def close(self) -> None:
        """Nothing will follow. Readers get the rest, then `()`."""
        self.closed = True
        self._tell()

    async def wait(self, after: int, change: Change | None = None) -> None:
        """Return when there is something after `after`, or never will be; or when somebody else has told `change`."""
        if after < self.last or self.closed:
            return
        if change is None:
            return await self._changed.wait()
        self._also.add(change)
        try:
            await change.wait()
        finally:
            self._also.discard(change)

    async def read(self, after: int) -> Sequence[Record]:
        """The next records after `after`; `()` when there are none."""
        if after >= self.last:
            return ()
        first = self.last - len(self._window) + 1
        if after + 1 >= first:
            start = after + 1 - first
            return self._window[start : start + BATCH]
        return _bounded(await self._store.events(self.run_id, after=after, limit=BATCH))

    def _trim(self) -> None:
        drop = 0
        while self._bytes > WINDOW and drop < len(self._window) - 1:
            self._bytes -= len(self._window[drop].body)
            drop += 1
        del self._window[:drop]

    def _tell(self) -> None:
        self._changed.tell()
        for change in self._also:
            change.tell()


def _bounded(records: Sequence[Record]) -> Sequence[Record]:
    """As many of them as the window could hold: a reader that stalls holds what it was given."""
    size = 0
    for place, record in enumerate(records, 1):
        size += len(record.body)
        if size > WINDOW:
            return records[:place]
    return records

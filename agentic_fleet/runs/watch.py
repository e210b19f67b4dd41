"""A watcher: a cursor over one run's log, from any point, until the run ends."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from agentic_fleet.errors import BadCursor
from agentic_fleet.events import Record
from agentic_fleet.runs.audience import Audience
from agentic_fleet.runs.change import Change
from agentic_fleet.runs.log import RunLog
from agentic_fleet.store import Store
from agentic_fleet.turns import RunState


class Watch:
    """Used in a `with` block, for as long as the reader is there: leaving it never stops the run, unless the run was
    asked to end with its last watcher (`on_disconnect`)."""

    def __init__(self, log: RunLog, state: Callable[[], RunState], store: Store, audience: Audience | None, after: int):
        if not 0 <= after <= log.last:
            raise BadCursor("This position is not in the run's log.", [("after", f"0 to {log.last}")])
        self.run_id = log.run_id
        self.after = after
        self._log = log
        self._state = state
        self._store = store
        self._audience = audience

    @property
    def state(self) -> RunState:
        """The run's state now, if it is live in this process; else as it was when the watch began."""
        return self._state()

    @property
    def over(self) -> bool:
        """The run has ended and this reader has everything."""
        return self._log.closed and self.after >= self._log.last

    async def next(self, change: Change | None = None) -> Sequence[Record]:
        """What is ready after the cursor, waiting until something is; `()` when the log has ended, or when somebody
        tells `change` meanwhile. Safe to cancel."""
        await self._log.wait(self.after, change)
        records = await self._log.read(self.after)
        if records:
            self.after = records[-1].seq
        return records

    async def done_read(self) -> None:
        """Say that `done` has been sent to somebody."""
        if not self.state.done_read:
            await self._store.mark_done_read(self.run_id)

    def __enter__(self) -> Self:
        if self._audience:
            self._audience.arrive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._audience:
            self._audience.leave()

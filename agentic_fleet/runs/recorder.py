"""The recorder of one run: numbers and encodes what the workflow emits, has the store keep it, and then shows it.

So nobody sees what a crash could lose, and a slow disk slows the workflow, which emits into a bounded inbox. Words that
come alone go the same way by the ferry, together with those of other runs.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import anyio

from agentic_fleet.conversations import Message
from agentic_fleet.errors import NotFound, StoreFailed
from agentic_fleet.events import TOKENS, Record, StreamEvent
from agentic_fleet.runs.change import Change
from agentic_fleet.runs.endings import encoded, number
from agentic_fleet.runs.ferry import STORE_PATIENCE, Ferry
from agentic_fleet.runs.inbox import Inbox
from agentic_fleet.runs.log import RunLog
from agentic_fleet.runs.middleware import Chain
from agentic_fleet.store import Store
from agentic_fleet.turns import RunState

WAITING_EVENTS = 256
"""Events that may wait for the store before `emit` makes the workflow wait: a burst of parallel agents, about 80 kB."""


class Recorder:
    """A `Passenger` of the ferry. `changed` tells of every new `state`."""

    def __init__(self, state: RunState, store: Store, ferry: Ferry, followers: Chain) -> None:
        self.run_id = state.run_id
        self.log = RunLog(state.run_id, store, last=state.last_seq)
        self.changed = Change()
        self._state = state
        self._store = store
        self._followers = followers
        self._inbox = Inbox(WAITING_EVENTS, partial(ferry.hail, self))

    @property
    def state(self) -> RunState:
        """The run's, as the store has it."""
        if self._state.last_seq != self.log.last:  # words have changed nothing else
            self._state = replace(self._state, last_seq=self.log.last)
        return self._state

    async def emit(self, event: StreamEvent) -> None:
        """Returns when there is room for it. Raises ClosedResourceError when the recording is over."""
        await self._inbox.put(event, word=event.type in TOKENS and not self._followers.hear_tokens)

    async def record(self) -> None:
        """Until closed, and everything is kept. Raises StoreFailed."""
        # Shielded: a commit that nobody heard of would leave the store ahead of the log. It ends with the workflow.
        with anyio.CancelScope(shield=True):
            while batch := await self._inbox.take():
                records, state = number(batch, self.state)
                changed = any(event.type not in TOKENS for event in batch)
                with anyio.move_on_after(STORE_PATIENCE) as patience:
                    await self.append(records, state if changed else None)
                if patience.cancelled_caught:
                    raise StoreFailed("The store did not answer.")
                self.show(records, state)
                await self._followers.on_events(batch)

    def close(self) -> None:
        """Nothing more will be emitted."""
        self._inbox.close()

    def board(self) -> list[Record]:
        try:
            return encoded(self._inbox.board(), self.run_id, after=self.log.last)
        except Exception as error:  # what the workflow emits is its own affair
            self._inbox.land(error)
            return []

    def land(self, records: Sequence[Record], failure: Exception | None) -> None:
        if failure is None:
            self.log.publish(records)
        self._inbox.land(failure)

    async def append(self, records: Sequence[Record], state: RunState | None, answer: Message | None = None) -> None:
        """Have the store keep it. Raises StoreFailed, Conflict."""
        with suppress(NotFound):  # its conversation was dropped meanwhile: nobody will ask for it
            if state is None:
                await self._store.append_tokens([(self.run_id, records)])
            else:
                await self._store.append(self.run_id, records, state=state, answer=answer)

    def show(self, records: Sequence[Record], state: RunState) -> None:
        """What the store has kept."""
        self._state = state
        self.log.publish(records)
        self.changed.tell()

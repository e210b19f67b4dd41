"""The ferry: takes the words of all runs to the store together, and shows them when they are there.

Nearly all events are words, and what they cost on the way to the disk is not their writing but the commits and the
waking of tasks. So a run's recorder is not troubled with words that come alone: they wait in the run's inbox until the
ferry calls, with those of every other run (group commit). Anything else goes by the recorder, and takes along
the words that wait before it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import anyio

from agentic_fleet.errors import NotFound, StoreFailed, StoreUnavailable
from agentic_fleet.events import Record
from agentic_fleet.runs.change import Change
from agentic_fleet.store import Store

GATHERING = 0.003
"""Seconds from one crossing to the next, at least. The first words after a silence cross at once."""
STORE_PATIENCE = 30.0
"""Seconds the store may take for what it is given at once; it gives up on a lock sooner by itself."""


class Passenger(Protocol):
    """A run that has words to take across."""

    run_id: str

    def board(self) -> list[Record]:
        """The words that are to go; none when its recorder has been quicker."""
        ...

    def land(self, records: Sequence[Record], failure: Exception | None) -> None:
        """What has boarded is in the store; or not, and why."""


_Aboard = Mapping[Passenger, Sequence[Record]]


class Ferry:
    """One for all runs of the process; `run` is its only task. What has boarded lands, also when that is cancelled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[Passenger, None] = {}  # an ordered set
        self._hailed = Change()
        self._departed = -math.inf

    def hail(self, passenger: Passenger) -> None:
        """It has words that wait."""
        self._waiting[passenger] = None
        self._hailed.tell()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._waiting:
                await self._hailed.wait()
            # uvloop's clock has milliseconds: without the hair, it would wake a millisecond late as often as not.
            await anyio.sleep(max(0, self._departed + GATHERING - anyio.current_time() - 0.0001))
            self._departed = anyio.current_time()
            passengers, self._waiting = self._waiting, {}
            aboard = {each: records for each in passengers if (records := each.board())}
            if aboard:
                await self._cross(aboard)

    async def _cross(self, aboard: _Aboard) -> None:
        failures: dict[Passenger, Exception] = dict.fromkeys(aboard, StoreFailed("The store did not answer."))
        try:
            with anyio.move_on_after(STORE_PATIENCE, shield=True):
                await self._keep(aboard, failures)
        finally:
            for each, records in aboard.items():
                each.land(records, failures.get(each))

    async def _keep(self, aboard: _Aboard, failures: dict[Passenger, Exception]) -> None:
        """Takes those whose words are kept out of `failures`."""
        try:
            await self._store.append_tokens([(each.run_id, records) for each, records in aboard.items()])
        except Exception as error:
            if len(aboard) > 1 and not isinstance(error, StoreUnavailable):
                for each, records in aboard.items():  # whose fault it is shows when each goes alone
                    await self._keep({each: records}, failures)
                return
            if not isinstance(error, NotFound):  # its conversation was dropped meanwhile: nobody will ask for it
                failures.update(dict.fromkeys(aboard, error))
                return
        for each in aboard:
            del failures[each]

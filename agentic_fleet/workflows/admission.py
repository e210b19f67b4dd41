"""Who may use the embedded model next: a bounded queue that is fair between runs.

llama.cpp has a queue of its own, but without a bound, without fairness, and a request in it cannot be withdrawn. It
also reads one prompt at a time whatever it is given, last come first; so prompts are let in one by one here, where
they keep their order and can still leave.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from agentic_fleet.errors import ModelBusy


class Place:
    """One generation's, from the queue to its end."""

    def __init__(self, run: str | None) -> None:
        self.run = run
        self.admitted = anyio.Event()


class Admission:
    """At most `slots` generations at once, of them one whose prompt is still being read; `queue` more may wait.

    The next one is of the run with the fewest generations running; of these, the one that came first.
    Not for use by several threads.
    """

    def __init__(self, *, slots: int, queue: int) -> None:
        self._slots = slots
        self._queue = queue
        self._waiting: list[Place] = []
        self._running: list[Place] = []
        self._reading: Place | None = None

    @asynccontextmanager
    async def place(self, run: str | None) -> AsyncIterator[Place]:
        """Wait for a place and hold it for the block. ModelBusy at once when the queue is full.

        Whoever is cancelled while waiting has left the queue.
        """
        if len(self._running) + len(self._waiting) >= self._slots + self._queue:
            raise ModelBusy(
                f"The embedded model is busy: {len(self._running)} answers under way, {len(self._waiting)} waiting."
            )
        place = Place(run)
        self._waiting.append(place)
        try:
            self._admit()
            await place.admitted.wait()
            yield place
        finally:
            self._leave(place)

    def prompt_read(self, place: Place) -> None:
        """The answer has begun: the next prompt may come in. Idempotent."""
        if self._reading is place:
            self._reading = None
            self._admit()

    def _admit(self) -> None:
        if self._reading or not self._waiting or len(self._running) == self._slots:
            return
        busy = Counter(place.run for place in self._running)
        place = min(self._waiting, key=lambda waiting: busy[waiting.run])  # the first of equals
        self._waiting.remove(place)
        self._running.append(place)
        self._reading = place
        place.admitted.set()

    def _leave(self, place: Place) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
            return
        self._running.remove(place)
        if self._reading is place:
            self._reading = None
        self._admit()

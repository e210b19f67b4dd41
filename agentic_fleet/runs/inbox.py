"""Events on their way from a workflow to the store: bounded, in one order, and taken all at once.

Two may take them, one at a time: the ferry, while there is nothing but words, and the run's recorder, which sleeps
until there is more than that.
"""

from collections.abc import Callable

import anyio

from agentic_fleet.events import StreamEvent
from agentic_fleet.runs.change import Change


class Inbox:
    """Of one run. When `room` events wait, whoever brings another one waits, too. `hail` calls the ferry."""

    def __init__(self, room: int, hail: Callable[[], None]) -> None:
        self._room = room
        self._hail = hail
        self._events: list[StreamEvent] = []
        self._mere_words = True
        self._recording = False  # the recorder is not yet done with what it took
        self._crossing = False  # nor the ferry
        self._closed = False
        self._failure: Exception | None = None
        self._change = Change()

    async def put(self, event: StreamEvent, *, word: bool) -> None:
        """`word`: it may go by the ferry. Raises ClosedResourceError when nobody takes anything any more."""
        while len(self._events) >= self._room and not self._closed:
            await self._change.wait()
        if self._closed:
            raise anyio.ClosedResourceError
        self._events.append(event)
        self._mere_words = self._mere_words and word
        if not (self._recording or self._crossing):
            self._call()

    async def take(self) -> list[StreamEvent]:
        """For the recorder, which is done with what it took before: all that waits, once there is more than words or
        the inbox is closed; nothing when it is empty then. Raises what kept words from landing."""
        self._recording = False
        if not self._crossing:
            self._call()
        while not self._failure and (self._crossing or self._mere_words and not self._closed):
            await self._change.wait()
        if self._failure:
            raise self._failure
        self._recording = bool(self._events)
        return self._emptied()

    def board(self) -> list[StreamEvent]:
        """For the ferry: the words that wait, if it is its turn. It must `land` them. None after a failure: they would
        stand behind a gap."""
        if self._recording or self._crossing or self._failure or not self._mere_words:
            return []
        self._crossing = bool(self._events)
        return self._emptied()

    def land(self, failure: Exception | None) -> None:
        self._crossing = False
        self._failure = failure
        self._call()

    def close(self) -> None:
        self._closed = True
        self._change.tell()

    def _emptied(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        self._mere_words = True
        if len(events) >= self._room:
            self._change.tell()
        return events

    def _call(self) -> None:
        """Whoever is to take what waits."""
        if self._closed or self._failure or not self._mere_words:
            self._change.tell()
        elif self._events:
            self._hail()

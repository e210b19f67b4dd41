"""Events on their way from a workflow to its recorder: bounded, and taken all at once."""

import anyio

from agentic_fleet.events import StreamEvent
from agentic_fleet.runs.change import Change


class Inbox:
    """Of one run. When `room` events wait, whoever brings another one waits, too."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._events: list[StreamEvent] = []
        self._closed = False
        self._change = Change()

    async def put(self, event: StreamEvent) -> None:
        """Raises ClosedResourceError when nobody takes anything any more."""
        while len(self._events) >= self._room and not self._closed:
            await self._change.wait()
        if self._closed:
            raise anyio.ClosedResourceError
        self._events.append(event)
        self._change.tell()

    async def take(self) -> list[StreamEvent]:
        """What waits, as soon as something does; nothing when it is closed and empty."""
        while not self._events and not self._closed:
            await self._change.wait()
        taken, self._events = self._events, []
        self._change.tell()
        return taken

    def close(self) -> None:
        self._closed = True
        self._change.tell()

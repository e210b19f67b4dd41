"""The clock of one open stream: has nothing been said for too long, or does the peer take no bytes?

A scope with a deadline around every wait and every send would add a tenth to what a token costs. So the times are only
noted, and whoever listens to the peer looks at the clock now and then.
"""

from typing import Literal

import anyio

from agentic_fleet.settings import Settings


class Clock:
    def __init__(self, settings: Settings) -> None:
        self.sending = False
        self._heartbeat = settings.heartbeat
        self._patience = settings.send_timeout
        self._since = anyio.current_time()  # the last send began, or a silence was told

    def begin(self) -> None:
        """Something is being sent, until `end`."""
        self._since = anyio.current_time()
        self.sending = True

    def end(self) -> None:
        self.sending = False

    @property
    def next_look(self) -> float:
        """When to look next, in the event loop's time."""
        latest = anyio.current_time() + min(self._patience, self._heartbeat)  # by then, all may be otherwise
        return min(latest, self._since + (self._patience if self.sending else self._heartbeat))

    def look(self) -> Literal["stalled", "silent"] | None:
        """What has come to pass."""
        now = anyio.current_time()
        if self.sending:
            return "stalled" if now >= self._since + self._patience else None
        if now < self._since + self._heartbeat:
            return None
        self._since = now
        return "silent"

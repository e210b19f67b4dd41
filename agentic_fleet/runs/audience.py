"""Who is watching a run: a count, and a way to wait until everybody has been gone for a while."""

import anyio

from agentic_fleet.runs.change import Change


class Audience:
    """Counted by `Watch`. A run with `on_disconnect="cancel"` ends with its audience."""

    def __init__(self) -> None:
        self.present = 0
        self._changed = Change()

    def arrive(self) -> None:
        self._count(1)

    def leave(self) -> None:
        self._count(-1)

    async def gone(self, grace: float) -> None:
        """Return when nobody has been here for `grace` seconds on end, so that a reconnect is not a departure.

        A run that nobody has come to watch yet counts as unwatched from its start.
        """
        while True:
            while self.present:
                await self._changed.wait()
            with anyio.move_on_after(grace):
                await self._changed.wait()
                continue
            return

    def _count(self, change: int) -> None:
        self.present += change
        self._changed.tell()

"""What many may wait for, again and again: that something has changed."""

import anyio


class Change:
    """An event of anyio is single-use; this makes one whenever somebody waits. Telling nobody costs nothing, and a
    log tells after every token.
    """

    def __init__(self) -> None:
        self._next: anyio.Event | None = None

    async def wait(self) -> None:
        """Until the next `tell`. Look first: what was told before is past. Safe to cancel."""
        self._next = self._next or anyio.Event()
        await self._next.wait()

    def tell(self) -> None:
        if self._next:
            self._next.set()
            self._next = None

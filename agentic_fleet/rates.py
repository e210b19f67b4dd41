"""How fast a caller may go: a token bucket for each.

A bucket holds a minute's worth, so that a burst is fine, and fills up evenly. What is counted is kept in this process
only: a restart forgives.
"""

import math
import time
from collections.abc import Callable

from agentic_fleet.errors import TooFast


class Rate:
    """At most `per_minute` for each caller, in the long run; 0 is no limit. `clock` counts seconds, never backwards.

    Callers are the owners of keys, so there are few and the buckets need no bound.
    """

    def __init__(self, per_minute: int, noun: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._noun = noun
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # caller -> what is left, and when that was so

    def take(self, caller: str) -> None:
        """Count one. Raises TooFast, with the seconds until there is one again."""
        if not self._per_minute:
            return
        at, per_second = self._clock(), self._per_minute / 60
        left, since = self._buckets.get(caller, (float(self._per_minute), at))
        left = min(self._per_minute, left + (at - since) * per_second)
        if left < 1:
            wait = math.ceil((1 - left) / per_second)
            raise TooFast(f"More than {self._per_minute} {self._noun} a minute.", retry_after=wait)
        self._buckets[caller] = left - 1, at

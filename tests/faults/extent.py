"""How often a test of many repetitions repeats: a few times in the suite, in full with ``FLEET_FULL=1``."""

import os


def times(few: int, full: int) -> int:
    return full if os.environ.get("FLEET_FULL") == "1" else few

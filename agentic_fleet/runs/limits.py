"""How long a run may take, and how long it waits for people."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds. Waiting for a human does not count towards `run`."""

    run: float
    human: float
    unwatched: float

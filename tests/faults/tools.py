"""Tools that misbehave until the file is there that ``GATE`` names, and note what they did in the one of ``NOTES``."""

import os
import time
from pathlib import Path

import anyio

from tests.notes import note

PATIENCE = 60
"""Seconds after which the gate counts as open, so that no thread outlives its test for long."""


def block() -> str:
    """Block a thread."""
    note("blocking")
    until = time.monotonic() + PATIENCE
    while not _is_open() and time.monotonic() < until:
        time.sleep(0.01)
    note("through")
    return "blocked"


async def cling() -> str:
    """Swallow whatever would end it."""
    note("clinging")
    until = time.monotonic() + PATIENCE
    while not _is_open() and time.monotonic() < until:
        try:
            await anyio.sleep(0.01)
        except BaseException:  # what no tool should do
            note("swallowed")
    note("through")
    return "clung"


def _is_open() -> bool:
    return Path(os.environ["GATE"]).exists()

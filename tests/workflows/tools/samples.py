"""Functions that tests use as tools."""

import threading
from typing import Any

import anyio
import anyio.lowlevel

from agentic_fleet.workflows.tools.spec import ToolFailed

runs: list[Any] = []  # arguments of `note`, in the order in which it ran
gate = threading.Event()  # what `block` waits for
blocked = threading.Event()  # `block` is waiting
freed = threading.Event()  # `block` has ended


def note(text: str, times: int = 1) -> str:
    """Write something down."""
    runs.append((text, times))
    return f"noted {text}"


async def later(text: str) -> dict[str, str]:
    """Write something down, asynchronously."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
    runs.append(text)
    return {"noted": text}


def block() -> str:
    """Block the thread."""
    blocked.set()
    gate.wait(10)
    freed.set()
    return "too late"


async def forever() -> str:
    """Never return."""
    await anyio.sleep_forever()
    return "never"


def refuse() -> str:
    """Fail with words for the model."""
    raise ToolFailed("The well is dry.")


def crash() -> str:
    """Fail with words that are not for others."""
    raise ValueError("password=hunter2")


def leave() -> str:
    """Try to end the process."""
    raise SystemExit(3)


def long() -> str:
    """Say very much."""
    return "x" * 50_000


def nothing_said(text: str) -> str:
    return text


class Odd:
    pass


def odd(thing: Odd) -> str:
    """Take what no model can write."""
    return str(thing)


not_a_function = 1

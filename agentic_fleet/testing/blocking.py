"""What is asynchronous here, for tests that are not."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from anyio.from_thread import start_blocking_portal

P = ParamSpec("P")
T = TypeVar("T")


def blocking(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it, and wait for what it returns: ``blocking(collect, fleet, "Hello", mode="fast")``.

    It runs in a thread with an event loop of its own, for the test's thread may have one that is busy: a session's
    browser or async fixture keeps one, and then neither `anyio.run` nor `asyncio.run` works there.
    """
    with start_blocking_portal() as portal:
        return portal.call(partial(function, *args, **kwargs))

"""Threads for tools that block, so that the event loop never does.

Not anyio's worker threads: the interpreter waits for those at its end, and a tool that never returns would keep the
process from stopping. These are daemons, one per call.
"""

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import anyio
from anyio import from_thread
from anyio.lowlevel import EventLoopToken, current_token

MAX_THREADS = 32  # at once; further calls wait, within their own time limit


@dataclass(slots=True)
class _Call:
    result: Any = None
    error: Exception | None = None
    done: anyio.Event = field(default_factory=anyio.Event)


class Threads:
    """A thread is counted until it ends, even when nobody waits for it any more, so that stuck ones stay bounded."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._free = anyio.Semaphore(limit)

    async def run(self, work: Callable[[], Any]) -> Any:
        """What `work()` returns or raises. When this is cancelled, `work` runs on and its outcome is dropped."""
        await self._free.acquire()
        call = _Call()
        target, arguments = copy_context().run, (self._work, work, call, current_token())
        Thread(target=target, args=arguments, name="tool", daemon=True).start()
        await call.done.wait()
        if call.error:
            raise call.error
        return call.result

    def _work(self, work: Callable[[], Any], call: _Call, loop: EventLoopToken) -> None:
        try:
            call.result = work()
        except Exception as error:  # a tool is foreign code: it is raised again where it is waited for
            call.error = error
        except BaseException as error:  # SystemExit and its like must not end the process
            call.error = RuntimeError(type(error).__name__)
        try:
            from_thread.run_sync(self._end, call, token=loop)
        except anyio.RunFinishedError:  # the process is stopping
            pass

    def _end(self, call: _Call) -> None:
        self._free.release()
        call.done.set()

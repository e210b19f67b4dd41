"""Threads for tools that block."""

import threading
from contextvars import ContextVar

import anyio
import pytest

from agentic_fleet.workflows.tools.threads import Threads

fact: ContextVar[str] = ContextVar("fact")


async def test_work_runs_elsewhere_and_knows_the_context() -> None:
    fact.set("mine")
    thread, known = await Threads().run(lambda: (threading.current_thread(), fact.get()))
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert known == "mine"


async def test_an_exception_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await Threads().run(fail)


async def test_a_thread_counts_until_it_ends_even_when_nobody_waits() -> None:
    threads, free, second = Threads(1), threading.Event(), threading.Event()
    with anyio.fail_after(5):
        with anyio.move_on_after(0.01):
            await threads.run(lambda: free.wait(10))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(threads.run, second.set)
            await anyio.wait_all_tasks_blocked()
            assert not second.is_set()
            free.set()
        assert second.is_set()

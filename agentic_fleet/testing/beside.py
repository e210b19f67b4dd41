"""Tasks beside a test, which leave the test's own failures as they are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def tasks_beside() -> AsyncIterator[TaskGroup]:
    """A task group. What the block raises (a failed assert, a skip) comes out as it is, not in an ExceptionGroup."""
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:
            failure = error
            tasks.cancel_scope.cancel("the block failed")
    if failure:
        raise failure

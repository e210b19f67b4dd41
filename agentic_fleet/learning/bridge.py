"""From running to learning: a middleware that keeps what each run did, in the history and as an example.

One object follows all runs at the same time. What it knows of one is in a ContextVar, which belongs to the task that
the run's life is carried out in: runs cannot mix, and the object itself holds no state of any.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agentic_fleet.errors import FleetError, StoreFailed
from agentic_fleet.events import StreamEvent, StreamEventType, now
from agentic_fleet.executions import Quality
from agentic_fleet.learning.account import Account
from agentic_fleet.learning.history import Told
from agentic_fleet.learning.lessons import ExampleFile
from agentic_fleet.turns import ChatMiddleware, Result, RunStatus, Unfinished

logger = logging.getLogger(__name__)

_FAULTS = frozenset({RunStatus.FAILED, RunStatus.INTERRUPTED})


class History(Protocol):
    """Where executions are kept."""

    async def save_execution_async(self, execution: dict[str, Any]) -> None:
        """`execution` is JSON as account.py tells it; it is the callee's own. Whatever this raises is logged."""
        ...


class _Following(NamedTuple):
    account: Account
    token: "Token[_Following | None]"


_current: ContextVar[_Following | None] = ContextVar("execution", default=None)


class BridgeMiddleware(ChatMiddleware):
    """See ChatMiddleware for who calls what. It may be called by hand, too: `on_start`, then `on_end` or `on_error`,
    whose result may be anything; a mapping is taken for facts about the execution.

    What cannot be kept is logged and never raised: no run depends on its history.
    """

    def __init__(
        self,
        history_manager: History,
        dspy_examples_path: Path | str | None = None,
        *,
        examples: ExampleFile | None = None,
        told: Callable[[str], AsyncGenerator[Told, None]] | None = None,
        score_later: Callable[[str], None] | None = None,
    ) -> None:
        """`history_manager` is given every execution. Examples go to `examples`, or to a file of that path, or nowhere.
        `told` gives the events of a run's earlier lives; `score_later` is given the runs whose answers have no score.
        """
        self._history = history_manager
        self._examples = examples or ExampleFile(dspy_examples_path)
        self._told = told
        self._score_later = score_later

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        """The account of a run that has lived before goes on from its log."""
        account = Account(task, context)
        following = _Following(account, _current.set(None))
        _current.set(following)
        if self._told and context.get("resumed"):
            try:
                async with aclosing(self._told(account.workflow_id)) as events:
                    async for event, at in events:
                        account.tell(event, at)
            except StoreFailed:
                logger.warning("the beginning of a run could not be read: its account is incomplete")

    async def on_event(self, event: StreamEvent) -> None:
        if following := _current.get():
            following.account.tell(event, now())

    async def on_end(self, result: Any) -> None:
        if account := _ended("on_end"):
            match result:
                case Result():
                    account.tell(_answered(result), now())
                case Mapping():
                    account.say(result)
                case _:
                    account.say({"result": str(result)})
            account.end(RunStatus.COMPLETED)
            await self._keep(account)
            if isinstance(result, Result) and result.quality_score is None and self._score_later:
                self._score_later(account.workflow_id)

    async def on_error(self, error: Exception) -> None:
        if account := _ended("on_error"):
            status = error.status if isinstance(error, Unfinished) else RunStatus.FAILED
            safe = isinstance(error, FleetError)  # what other exceptions say may not be meant for readers
            reason = str(error) if safe else f"The run failed unexpectedly ({type(error).__name__})."
            account.end(status, reason if status in _FAULTS else None)
            await self._keep(account)

    async def _keep(self, account: Account) -> None:
        execution = account.whole
        try:
            await self._history.save_execution_async(dict(execution))
        except Exception as error:  # the boundary between a run and whatever keeps its history
            logger.error("an execution was not kept: %s", type(error).__name__)
        if account.status is not RunStatus.SUSPENDED:  # nothing has come of it yet
            await self._examples.add_account(execution, Quality(**account.quality))


def _ended(call: str) -> Account | None:
    """The account that this task has been following."""
    if (following := _current.get()) is None:
        logger.warning("%s without on_start: there is nothing to keep", call)
        return None
    try:
        _current.reset(following.token)
    except ValueError:  # called from another task than on_start, which has a copy of its context
        _current.set(None)
    return following.account


def _answered(result: Result) -> StreamEvent:
    return StreamEvent(
        type=StreamEventType.RESPONSE_COMPLETED,
        message=result.text,
        author=result.author,
        quality_score=result.quality_score,
        quality_flag=result.quality_flag,
    )

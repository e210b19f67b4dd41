"""Those who follow a run, as the run sees them: told in order, each within its time, none of them a danger to it."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import anyio

from agentic_fleet.conversations import Message
from agentic_fleet.events import TOKENS, StreamEvent
from agentic_fleet.turns import ChatMiddleware, Result, RunState, Unfinished

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds one of them may take to hear of a beginning, of a batch of events, or of an end: a slow disk's worth."""


class Following(NamedTuple):
    """Who follows the runs, and whether some of them give a score to answers that have none."""

    middleware: tuple[ChatMiddleware, ...] = ()
    scores_late: bool = False


NOBODY = Following()


class Chain:
    """The middleware of one run. Nothing that one of them raises comes out, but cancellation does."""

    def __init__(self, middleware: Sequence[ChatMiddleware]) -> None:
        self._all = tuple(middleware)
        self._tokens = [getattr(each, "tokens", False) for each in middleware]  # it may do without saying so
        self._spoken = False
        self._failed: set[int] = set()  # their places

    @property
    def hear_tokens(self) -> bool:
        """Whether one of them wants to hear of the next token."""
        return True in self._tokens or (not self._spoken and "first" in self._tokens)

    async def on_start(self, task: str, told: dict[str, Any]) -> None:
        for place, each in enumerate(self._all):
            await self._tell(place, each.on_start, task, dict(told))

    async def on_events(self, events: Sequence[StreamEvent]) -> None:
        """A batch at once: what guards the calls (10 us) is paid for once, and never for tokens that nobody hears."""
        heard = {True: events, "first": self._with_first(events), False: _rare(events)}
        for place, each in enumerate(self._all):
            wanted = heard[self._tokens[place]]
            if wanted and place not in self._failed:
                await self._tell(place, _all_of, wanted, each.on_event)

    def _with_first(self, events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
        """Without tokens, but for the first one of all."""
        first = None if self._spoken else next((event for event in events if event.type in TOKENS), None)
        self._spoken = self._spoken or first is not None
        return [event for event in events if event is first or event.type not in TOKENS]

    async def on_ending(self, events: Sequence[StreamEvent], outcome: Result | Unfinished) -> None:
        """The last events, and what they come to. Also when the run's host is being cancelled."""
        with anyio.CancelScope(shield=True):
            await self.on_events(events)
            for place, each in enumerate(self._all):
                if isinstance(outcome, Unfinished):
                    await self._tell(place, each.on_error, outcome)
                else:
                    await self._tell(place, each.on_end, outcome)

    async def _tell(self, place: int, call: Callable[..., Awaitable[None]], *what: Any) -> None:
        try:
            with anyio.move_on_after(PATIENCE) as patience:
                await call(*what)
        except Exception as error:  # foreign code at the run's side
            self._report(place, "failed", error)
        if patience.cancelled_caught:
            self._report(place, f"took longer than {PATIENCE:g} s", None)

    def _report(self, place: int, what: str, error: Exception | None) -> None:
        if place not in self._failed:
            self._failed.add(place)
            logger.error("the middleware %s %s", type(self._all[place]).__name__, what, exc_info=error)


def facts(state: RunState, history: Sequence[Message]) -> dict[str, Any]:
    """What middleware is told when a life of the run begins (turns.ChatMiddleware)."""
    return {
        "workflowId": state.run_id,
        "conversation_id": state.conversation_id,
        "caller": state.owner,
        "mode": state.mode,
        "created_at": state.created_at,
        "history": tuple(history),
        "resumed": state.last_seq > 0,
    }


def _rare(events: Sequence[StreamEvent]) -> Sequence[StreamEvent]:
    return [event for event in events if event.type not in TOKENS]


async def _all_of(events: Sequence[StreamEvent], on_event: Callable[[StreamEvent], Awaitable[None]]) -> None:
    for event in events:
        await on_event(event)

"""The history in the store: accounts of runs go in as executions, and the log of a run becomes an account again."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from agentic_fleet.errors import NotFound
from agentic_fleet.events import TOKENS, StreamEvent
from agentic_fleet.executions import Execution, Quality
from agentic_fleet.store import Store

_PAGE = 500  # records of a log that are read at once

Told = tuple[StreamEvent, int]
"""An event, and when it happened (Unix milliseconds)."""


class _Logged(StreamEvent, frozen=True, kw_only=True):
    timestamp: datetime


_logged = msgspec.json.Decoder(_Logged)
_TOKENS = tuple(b'{"type":"%s"' % type.encode() for type in TOKENS)  # events.encode_event begins with the type


class StoredHistory:
    """A `History` (bridge.py) over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def save_execution_async(self, execution: dict[str, Any]) -> None:
        """Keep it as the run's one execution. StoreFailed. That of a dropped conversation is not kept."""
        account = {key: value for key, value in execution.items() if key != "quality"}
        kept = Execution(
            workflow_id=execution["workflow_id"],
            owner=execution["caller"],
            conversation_id=execution["conversation_id"],
            created_at=execution["created_at"],
            quality=Quality(**execution["quality"]),
            account=account,
        )
        with suppress(NotFound):
            await self._store.keep_execution(kept)

    async def told(self, workflow_id: str) -> AsyncGenerator[Told, None]:
        """The events of a run's earlier lives without their tokens, in order. StoreFailed."""
        after = 0
        while records := await self._store.events(workflow_id, after=after, limit=_PAGE):
            for record in records:
                if not record.body.startswith(_TOKENS):
                    event = _logged.decode(record.body)
                    yield event, round(event.timestamp.timestamp() * 1000)
            after = records[-1].seq


class NoHistory:
    """A `History` that keeps nothing."""

    async def save_execution_async(self, execution: dict[str, Any]) -> None:
        pass

"""What an orchestration tells its readers: each thing once, however often the run is carried out again."""

from typing import Any

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.workflows.desk import Desk, desk
from agentic_fleet.workflows.modes import Shift

Failure = ModelFailed | TimedOut
"""Why an agent could not do its part."""


class Told:
    """The desk of the phase at hand, seen as a list of what was told from it."""

    def __init__(self, shift: Shift) -> None:
        self._shift = shift
        self.desk = desk.get() or Desk(shift.turn, shift.emit)

    async def tell(self, what: object, *events: StreamEvent) -> None:
        """Emit the events, unless `what` (JSON) has been told before and readers do not begin anew."""
        step = await self.desk.step("told", jsontext.encode(what))
        if step.value is None or self._shift.turn.retell:
            for event in events:
                await self._shift.emit(event)
        if step.value is None:
            await self.desk.keep(step, b"1")


def of(agent: str, type: StreamEventType, **fields: Any) -> StreamEvent:
    return StreamEvent(type=type, agent_id=agent, author=agent, **fields)


def thought(kind: str, message: str, data: dict[str, Any]) -> StreamEvent:
    return StreamEvent(type=StreamEventType.ORCHESTRATOR_THOUGHT, kind=kind, message=message, data=data)

"""Events as a reader of a stream gets them."""

from typing import Any, Self

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.events import EventCategory, StreamEvent, StreamEventType, UIHint


class Event(StreamEvent, frozen=True, kw_only=True):
    """One event of a run. What it says beside `type` depends on that: `message`, `delta`, `agent_id`, `data`, ..."""

    id: str  # "RUN:SEQ": the cursor to resume after it
    category: EventCategory | None = None
    ui_hint: UIHint | None = None
    workflow_id: str | None = None  # the run's id
    timestamp: str | None = None  # RFC 3339, UTC

    @classmethod
    def read(cls, body: str | bytes, id: str | None = None) -> Self:
        """From JSON, which holds the id unless it is given."""
        fields = jsontext.decode(body, dict[str, Any])
        return msgspec.convert(fields if id is None else fields | {"id": id}, cls)

    @property
    def run_id(self) -> str:
        return self.id.partition(":")[0]

    @property
    def seq(self) -> int:
        """Its place in the run's log. Begins at 1 and rises; deltas that came joined leave gaps."""
        return int(self.id.partition(":")[2])


class Events(list[Event]):
    """What a run told, in order."""

    @property
    def types(self) -> list[str]:
        return [event.type.value for event in self]

    @property
    def text(self) -> str:
        """The answer; empty when there is none (yet)."""
        answers = [event.message for event in self if event.type == StreamEventType.RESPONSE_COMPLETED]
        return (answers[-1] or "") if answers else ""

    @property
    def ending(self) -> Event | None:
        """The last event but `done`: what the run came to. None while it goes on."""
        return self[-2] if len(self) > 1 and self[-1].type == StreamEventType.DONE else None

    @property
    def requests(self) -> list[Event]:
        """Those that ask a human; `data` has `request_id`, `request_type` and `request`."""
        return [event for event in self if event.kind == "request"]

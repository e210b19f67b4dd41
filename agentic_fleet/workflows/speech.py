"""What one agent says in its part of the work: told word by word as its model says it, and bounded.

Words do not come through the agent's own stream, whose layers would add a quarter to what each of them costs. They are
heard where they leave the model; the framework gets the same words later, many at once (chat.py).
"""

from collections.abc import Iterator, Sequence

import msgspec

from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Emit
from agentic_fleet.workflows.desk import Part
from agentic_fleet.workflows.mapping import complete_reasoning, map_words


class Speech:
    """Of one agent in one part. What it had said before the run paused is part of it, but is not told again, unless
    `retell`. `room` is in characters: the text ends there."""

    def __init__(self, part: Part, emit: Emit, text_type: StreamEventType, *, room: int, retell: bool) -> None:
        self._part = part
        self._emit = emit
        self._text_type = text_type
        self._room = room
        self._retell = retell
        self._texts: list[str] = []
        self._reasoning = ""

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def full(self) -> bool:
        return self._room <= 0

    async def hear(self, thought: str, text: str) -> bool:
        """A `desk.Hear`. Returns whether there is room for more."""
        agent, telling = self._part.agent, self._part.live or self._retell
        events, reasoning = map_words(thought, text, self._reasoning, agent_id=agent, text_type=self._text_type)
        self._reasoning = reasoning if telling else ""
        for event in self._within(events):
            if telling:
                await self._emit(event)
        return not self.full

    async def end(self) -> None:
        """The agent has said all."""
        for event in complete_reasoning(self._reasoning, self._part.agent):
            await self._emit(event)
        self._reasoning = ""

    def _within(self, events: Sequence[StreamEvent]) -> Iterator[StreamEvent]:
        """The events up to the one that fills the room, which is cut to fit."""
        for event in events:
            if self.full:
                return
            if event.delta is not None:
                if len(event.delta) > self._room:
                    event = msgspec.structs.replace(event, delta=event.delta[: self._room])
                self._texts.append(event.delta or "")
                self._room -= len(self._texts[-1])
            yield event

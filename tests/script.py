"""A workflow that does what a test tells it: real runs, real logs, no model."""

from collections.abc import Awaitable, Callable

import anyio

from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Emit, Pause, PendingRequest, Result, Turn

Act = Callable[[Turn, Emit], Awaitable[Result | Pause]]


class Script:
    """Plays `act` for every turn and remembers the turns it was given."""

    def __init__(self, act: Act) -> None:
        self.act = act
        self.turns: list[Turn] = []

    async def run(self, turn: Turn, emit: Emit) -> Result | Pause:
        self.turns.append(turn)
        return await self.act(turn, emit)


def token(text: str) -> StreamEvent:
    return StreamEvent(type=StreamEventType.RESPONSE_DELTA, delta=text, agent_id="writer")


def answer(text: str, score: float | None = 8.0) -> Result:
    return Result(text=text, author="Writer", agent_id="writer", quality_score=score)


async def echo(turn: Turn, emit: Emit) -> Result:
    """Answers with the question, a word at a time."""
    words = [word + " " for word in turn.ask.message.split(" ")]
    for word in words:
        await emit(token(word))
    return answer("".join(words))


def question(request_id: str, text: str = "Which colour?") -> PendingRequest:
    return PendingRequest(request_id=request_id, request_type="UserInput", request={"question": text})


def asking(*requests: PendingRequest) -> Act:
    """Asks until all of `requests` are answered, then answers with what it was told."""

    async def act(turn: Turn, emit: Emit) -> Result | Pause:
        if not turn.answers or turn.retell:
            await emit(token("Thinking. "))
        if left := tuple(request for request in requests if request.request_id not in turn.answers):
            return Pause(requests=left)
        told = " ".join(str(turn.answers[request.request_id]) for request in requests)
        await emit(token(told))
        return answer(f"Thinking. {told}")

    return act


class Paced:
    """Emits one token per `step()`, then answers at `finish()`: a run held in any state for as long as a test likes."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.left = anyio.Event()
        self._send, self._receive = anyio.create_memory_object_stream[str](10_000)

    def step(self, *texts: str) -> None:
        for text in texts:
            self._send.send_nowait(text)

    def finish(self) -> None:
        self._send.close()

    async def __call__(self, turn: Turn, emit: Emit) -> Result:
        texts = []
        self.started.set()
        try:
            async with self._receive:
                async for text in self._receive:
                    texts.append(text)
                    await emit(token(text))
            return answer("".join(texts))
        finally:
            self._send.close()
            self.left.set()

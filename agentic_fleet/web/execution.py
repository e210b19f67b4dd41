"""POST /api/v1/run: ask and wait for the end, in one plain request.

The answer is 200 for every run that began, whatever became of it: its `status` tells. Clients repeat a 5xx, and would
have the same work done again. A run that asks a human is answered at once, since nobody could answer it meanwhile.
When the client leaves, nobody else knows the run, so it is cancelled.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import anyio
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from agentic_fleet import jsontext
from agentic_fleet.conversations import Opening, new_id
from agentic_fleet.errors import Invalid, innermost
from agentic_fleet.events import Record, StreamEvent, StreamEventType
from agentic_fleet.runs import Runs, Watch
from agentic_fleet.turns import Ask, Mode, ReasoningEffort, RunState, RunStatus
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of

OPENING = Opening(listed=False)
"""Such a run's conversation has this one question and is in nobody's list."""

STOP = 10.0
"""Seconds that a run gets to end when its client has left; it ends all the same if it takes longer."""
_TOLD = (b'{"type":"orchestrator.thought"', b'{"type":"response.completed"')
"""How the events begin that say something here: the thousands of deltas are not even decoded."""


class RunBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    task: Annotated[str, Meta(min_length=1, max_length=10_000)]
    mode: Mode | Literal["standard"] = "auto"  # the original's word for the same
    reasoning_effort: ReasoningEffort | None = None

    def ask(self) -> Ask:
        """Raises Invalid for a task of whitespace."""
        if not self.task.strip():
            raise Invalid("task: must not be only whitespace", [("task", "must not be only whitespace")])
        mode = "auto" if self.mode == "standard" else self.mode
        return Ask(message=self.task, mode=mode, reasoning_effort=self.reasoning_effort)


class OutcomeView(TypedDict):
    """`result` is null unless the status is completed. `routing` and `quality` are what those phases found, if they
    came to it; `metadata` is the run."""

    result: str | None
    status: RunStatus
    execution_id: str  # of the run, for /api/v1/runs/{run_id}
    routing: dict[str, Any] | None
    quality: dict[str, Any] | None
    metadata: views.RunView


@dataclass(slots=True)
class _Outcome:
    """What a run's log says about it."""

    state: RunState
    result: str | None = None
    routing: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    _assessments: list[dict[str, Any]] = field(default_factory=list)

    def learn(self, record: Record) -> None:
        if not record.body.startswith(_TOLD):
            return
        event = jsontext.decode(record.body, StreamEvent)
        if event.type is StreamEventType.RESPONSE_COMPLETED:
            self._complete(event)
        elif event.kind == "routing":
            self.routing = event.data
        elif event.kind == "quality" and event.data:
            self._assessments.append(event.data)
            self.quality = event.data

    def _complete(self, event: StreamEvent) -> None:
        """The best version is the answer, whichever round made it."""
        self.result = event.message or ""
        for found in self._assessments:
            if found.get("score") == event.quality_score:
                self.quality = found


async def execute(request: Request) -> Response:
    """Answers when the run has ended or waits for a human."""
    wire.query(request, wire.NoQuery)
    ask = (await wire.body(request, RunBody)).ask()
    runs = parts_of(request).runs
    outcome = _Outcome(await runs.start(new_id(), ask, create=True, opening=OPENING))
    answered = False
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_leave, request.receive, tasks.cancel_scope)
            await _follow(runs, outcome)
            answered = True
            tasks.cancel_scope.cancel("the run can be answered")
    except ExceptionGroup as errors:
        raise innermost(errors) from None
    finally:
        if not answered:
            with anyio.move_on_after(STOP, shield=True):
                await runs.cancel(outcome.state.run_id)
    return views.reply(_execution(outcome))


async def _leave(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel("the client left")


async def _follow(runs: Runs, outcome: _Outcome) -> None:
    """Until the run has ended or waits for a human, and all that it has said by then is read."""
    with await runs.watch(outcome.state.run_id) as watch:
        while not _waits(watch) and (records := await watch.next()):
            for record in records:
                outcome.learn(record)
        outcome.state = watch.state


def _waits(watch: Watch) -> bool:
    return watch.state.status is RunStatus.WAITING and watch.after >= watch.state.last_seq


def _execution(outcome: _Outcome) -> OutcomeView:
    return {
        "result": outcome.result,
        "status": outcome.state.status,
        "execution_id": outcome.state.run_id,
        "routing": outcome.routing,
        "quality": outcome.quality,
        "metadata": views.run(outcome.state),
    }

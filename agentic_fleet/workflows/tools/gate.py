"""What every tool call passes through: a human's approval, the journal, the events, the time limit.

One Agent Framework function middleware, shared by all agents and runs; what belongs to a run it takes from the desk.
A tool that fails is a result like any other: the model is told, and may try something else. When the gate itself
cannot do its work (the store is down), the run must end, and the framework would turn every ordinary exception into a
tool's error; so it raises MiddlewareFailure, with the reason as its cause.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
from agent_framework import (
    Content,
    FunctionInvocationContext,
    FunctionMiddleware,
    MiddlewareFailure,
    MiddlewareTermination,
)

from agentic_fleet import jsontext
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.workflows.desk import Desk, Paused, Step, desk, go_live, part
from agentic_fleet.workflows.tools.arguments import plain, problem
from agentic_fleet.workflows.tools.spec import ToolFailed, ToolSpec
from agentic_fleet.workflows.tools.verdicts import read_verdict

logger = logging.getLogger(__name__)

ASK_USER = "ask_user"
FOR_EVENT = 4_000  # characters of arguments and of a result in an event
FOR_MODEL = 20_000  # characters of a result that the model is given: some 5,000 tokens
NOBODY = "There is no user to ask here."

_Next = Callable[[], Awaitable[None]]


class Outcome(msgspec.Struct, frozen=True):
    """What came of a call, as it is kept in the journal."""

    text: str
    failed: bool = False

    @property
    def for_model(self) -> str:
        return f"Error: {self.text}" if self.failed else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool by an agent."""

    agent: str
    tool: str
    arguments: Any
    call_id: str

    @property
    def content(self) -> bytes:
        """What makes two calls the same step of the run."""
        return jsontext.encode([self.agent, self.tool, self.arguments])

    def begun(self) -> StreamEvent:
        whole = jsontext.encode(self.arguments)
        arguments = self.arguments if len(whole) <= FOR_EVENT else cut(whole.decode(), FOR_EVENT)
        data = {"tool": self.tool, "arguments": arguments, "call_id": self.call_id}
        return StreamEvent(type=StreamEventType.TOOL_CALL, agent_id=self.agent, author=self.agent, data=data)

    def ended(self, outcome: Outcome) -> StreamEvent:
        """With `error` when it failed, else with `data.result`."""
        text = cut(outcome.text, FOR_EVENT)
        data = {"tool": self.tool, "call_id": self.call_id} | ({} if outcome.failed else {"result": text})
        return StreamEvent(
            type=StreamEventType.TOOL_RESULT,
            agent_id=self.agent,
            author=self.agent,
            error=text if outcome.failed else None,
            data=data,
        )


class Gate(FunctionMiddleware):
    """`specs` are by function name; a function that is not among them is none of the gate's business."""

    def __init__(self, specs: Mapping[str, ToolSpec]) -> None:
        self._specs = dict(specs)

    async def process(self, context: FunctionInvocationContext, call_next: _Next) -> None:
        """See FunctionMiddleware. A question to a human is left in `part.pauses`, and ends the agent's loop."""
        spec = self._specs.get(context.function.name)
        if spec is None:
            await call_next()
            return
        try:
            context.result = await _result(spec, context, call_next)
        except Paused as paused:
            if (mine := part.get()) is None:
                raise MiddlewareFailure("nobody would hear the question") from paused
            mine.pauses.extend(paused.requests)
            context.result = "Waiting for a human."
            raise MiddlewareTermination("waiting for a human") from None
        except MiddlewareFailure:
            raise
        except Exception as error:
            raise MiddlewareFailure("the gate could not do its work") from error


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of it, with a note when that is not all."""
    if len(text) <= limit:
        return text
    note = f"… [cut; {len(text)} characters in all]"
    return text[: limit - len(note)] + note


async def _result(spec: ToolSpec, context: FunctionInvocationContext, call_next: _Next) -> str:
    """What the model is told. Raises Paused."""
    at = desk.get()
    if at is None:
        return await _alone(spec, context, call_next)
    mine = part.get()
    tool = context.function.name
    call_id = context.metadata["call_id"]
    call = Call(agent=mine.agent if mine else "", tool=tool, arguments=plain(context.arguments), call_id=call_id)
    wrong = problem(context.function, context.arguments)
    if wrong is None and tool == ASK_USER:
        return cut(_asked(at, call), FOR_MODEL)
    if wrong is None and spec.approval and (refusal := _refusal(at, call)):
        return refusal
    step = await at.step("tool", call.content)
    if step.value is not None:
        outcome = msgspec.json.decode(step.value, type=Outcome)
        if at.turn.retell:
            await at.emit(call.begun())
            await at.emit(call.ended(outcome))
        return outcome.for_model
    go_live()
    await at.emit(call.begun())
    outcome = Outcome(wrong, failed=True) if wrong else await _run(spec, context, call_next)
    await _keep(at, step, outcome)  # first of all: what has been done must not be done again
    await at.emit(call.ended(outcome))
    return outcome.for_model


async def _keep(at: Desk, step: Step, outcome: Outcome) -> None:
    """Also when the run is cancelled right now: by a scope, or by asyncio, which knows no shield but cancels once."""
    value = jsontext.encode(outcome)
    with anyio.CancelScope(shield=True):
        try:
            await at.keep(step, value)
        except anyio.get_cancelled_exc_class():
            await at.keep(step, value)
            raise


async def _alone(spec: ToolSpec, context: FunctionInvocationContext, call_next: _Next) -> str:
    """Outside a run nobody can be asked, and nothing is told or kept."""
    if spec.approval or context.function.name == ASK_USER:
        return Outcome(NOBODY, failed=True).for_model
    return (await _run(spec, context, call_next)).for_model


def _asked(at: Desk, call: Call) -> str:
    answer = at.answer("UserInput", {"question": call.arguments["question"], "agent": call.agent})
    return answer if isinstance(answer, str) else jsontext.encode(answer).decode()


def _refusal(at: Desk, call: Call) -> str | None:
    """What the model is told when the human says no."""
    request = {"tool": call.tool, "arguments": call.arguments, "agent": call.agent}
    approved, words = read_verdict(at.answer("ToolApproval", request))
    if approved:
        return None
    said = f" They said: {words}" if words else ""
    return cut(f"The user declined this call, so it was not made.{said}", FOR_MODEL)


async def _run(spec: ToolSpec, context: FunctionInvocationContext, call_next: _Next) -> Outcome:
    name = context.function.name
    try:
        with anyio.move_on_after(spec.timeout):
            await call_next()
            return Outcome(cut(_text(context.result), FOR_MODEL))
    except MiddlewareFailure:
        raise
    except ToolFailed as error:
        return Outcome(cut(str(error), FOR_MODEL), failed=True)
    except Exception as error:  # a tool is foreign code; what its exception says may not be meant for others
        detail = logger.isEnabledFor(logging.DEBUG)
        logger.warning("tool %s failed: %s", name, type(error).__name__, exc_info=detail)
        return Outcome(f"{name} failed ({type(error).__name__}).", failed=True)
    return Outcome(f"{name} took longer than {spec.timeout:g} s and was stopped.", failed=True)


def _text(result: Any) -> str:
    """A tool's result as text; of pictures and the like only that they were there."""
    if isinstance(result, list) and all(isinstance(item, Content) for item in result):
        return "\n".join(item.text or "" if item.type == "text" else f"[{item.type} left out]" for item in result)
    return str(result)

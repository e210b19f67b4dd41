"""Agents at work: alone, one after the other, or side by side. Their words go straight to the run (speech.py)."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import anyio
import msgspec
from agent_framework import Agent, ChatOptions, Message

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed, TimedOut, innermost
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Emit, PendingRequest, Turn
from agentic_fleet.workflows.agents import EFFORT, Bounds
from agentic_fleet.workflows.chunks import NO_ANSWER
from agentic_fleet.workflows.desk import Desk, Part, Paused, at, desk, playing
from agentic_fleet.workflows.history import both_ends, history_messages
from agentic_fleet.workflows.plans import Plan, Work
from agentic_fleet.workflows.speech import Speech
from agentic_fleet.workflows.usage import Usage

logger = logging.getLogger(__name__)

T = TypeVar("T")

SILENT = "The model said nothing."

_TYPE = StreamEventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of the work. `text` is exactly the joined `response.delta` texts; `cut` when it met its bound."""

    text: str
    agent: str
    agents: tuple[str, ...]  # those that finished their part, in working order
    cut: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)  # agent -> why


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One run's work: the shared agents, and what is this run's own."""

    team: Mapping[str, Agent[Any]]
    bounds: Bounds
    turn: Turn
    emit: Emit
    takes_effort: bool  # whether the model knows the option `reasoning_effort`


async def _alone(shift: Shift, plan: Plan) -> Answer:
    (agent,) = plan.agents
    spoken = await speak(shift, agent, shift.turn.ask.message, about=plan.subtasks.get(agent), answering=True)
    return Answer(text=spoken.text, agent=agent, agents=plan.agents, cut=spoken.cut)


async def _in_turn(shift: Shift, plan: Plan) -> Answer:
    done: dict[str, str] = {}
    for place, agent in enumerate(plan.agents, start=1):
        last = place == len(plan.agents)
        prompt = _prompt(shift, plan, agent, reports=done, heading="The work so far:")
        if last:
            prompt += "\n\nYou are the last to work on this: give the complete answer to the task."
        spoken = await speak(shift, agent, prompt, about=plan.subtasks.get(agent), answering=last)
        done[agent] = spoken.text
    return Answer(text=spoken.text, agent=agent, agents=plan.agents, cut=spoken.cut)


async def _side_by_side(shift: Shift, plan: Plan) -> Answer:
    reports, failures = await _reports(shift, plan)
    if not reports:
        raise failures[plan.agents[0]]
    failed = {agent: str(error) for agent, error in failures.items()}
    synthesist = shift.bounds.synthesis_agent
    prompt = _prompt(shift, plan, None, reports=reports, heading="Your colleagues' reports:")
    if failed:
        prompt += f"\n\nWithout a report, say so if it matters: {', '.join(failed)}."
    prompt += "\n\nMake one complete answer to the task out of the reports."
    spoken = await speak(shift, synthesist, prompt, about="Make one answer of the reports.", answering=True)
    return Answer(text=spoken.text, agent=synthesist, agents=tuple(reports), cut=spoken.cut, failed=failed)


async def _reports(shift: Shift, plan: Plan) -> tuple[dict[str, str], dict[str, ModelFailed | TimedOut]]:
    """What each agent wrote, or why it did not. Both are in the plan's order, whoever was first: prompts follow it.

    Raises Paused, when all have come to rest, with whatever any of them wants to know.
    """
    reports: dict[str, str] = {}
    failures: dict[str, ModelFailed | TimedOut] = {}
    pauses: dict[str, Sequence[PendingRequest]] = {}

    async def report(agent: str) -> None:
        prompt = _prompt(shift, plan, agent)
        try:
            reports[agent] = (await speak(shift, agent, prompt, about=plan.subtasks.get(agent), answering=False)).text
        except Paused as paused:
            pauses[agent] = paused.requests
        except (ModelFailed, TimedOut) as error:
            logger.warning("one agent of several failed: %s: %s", agent, type(error).__name__)
            failures[agent] = error

    try:
        async with anyio.create_task_group() as tasks:
            for agent in plan.agents:
                tasks.start_soon(report, agent)
    except ExceptionGroup as group:
        error = innermost(group)
        raise error from error.__cause__  # not None: a tool's gate says there why its work failed
    if pauses:
        raise Paused(*(request for agent in plan.agents for request in pauses.get(agent, ())))
    return _ordered(reports, plan), _ordered(failures, plan)


def _ordered(found: Mapping[str, T], plan: Plan) -> dict[str, T]:
    return {agent: found[agent] for agent in plan.agents if agent in found}


MODES: Mapping[Work, Callable[[Shift, Plan], Awaitable[Answer]]] = {
    "fast": _alone,
    "delegated": _alone,
    "sequential": _in_turn,
    "parallel": _side_by_side,
}
"""Each carries out a plan. Raises ModelFailed or TimedOut when there is no answer, Paused when a human must decide."""


class Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a part ended, as the journal keeps it. Failures too: the run may have gone on without that agent."""

    text: str
    cut: bool = False
    failure: str | None = None

    @classmethod
    def by(cls, error: ModelFailed | TimedOut) -> Self:
        kind = TimedOut if isinstance(error, TimedOut) else ModelFailed
        return cls(text=str(error), failure=kind.__name__)

    def spoken(self) -> Spoken:
        """Raises the failure that it was."""
        if self.failure:
            raise (TimedOut if self.failure == TimedOut.__name__ else ModelFailed)(self.text)
        return Spoken(text=self.text, cut=self.cut)


async def speak(shift: Shift, agent: str, prompt: str, *, about: str | None, answering: bool) -> Spoken:
    """One agent's part, from `agent.start` to `agent.complete`, which carries the error when it fails.

    Raises ModelFailed, TimedOut, or Paused once the agent has come to rest. What an earlier turn has told is not told
    again, and a part that had ended is not played again, unless readers begin anew. Text is `response.delta` when
    `answering`, else `agent.delta`.
    """
    mine, retell = desk.get() or Desk(shift.turn, shift.emit), shift.turn.retell
    content, own = jsontext.encode((agent, prompt)), mine.part(agent)
    started, ended = await mine.step("started", content), await mine.step("ended", content)
    usage = Usage(kept_counts=not ended.value)
    if ended.value and not retell:
        return msgspec.json.decode(ended.value, type=Ended).spoken()
    if ended.value:  # played again, it may end otherwise, and ask before it does
        await mine.keep(ended, b"")
    if started.value is None or retell:
        message = about or shift.team[agent].description
        await shift.emit(StreamEvent(type=_TYPE.AGENT_START, agent_id=agent, author=agent, message=message))
        await mine.keep(started, b"1")
    try:
        with at(own):
            text_type = _TYPE.RESPONSE_DELTA if answering else _TYPE.AGENT_DELTA
            spoken = await _in_time(shift, agent, prompt, text_type, usage)
    except (ModelFailed, TimedOut) as error:
        await shift.emit(_complete(agent, usage, error=str(error)))
        await mine.keep(ended, jsontext.encode(Ended.by(error)))
        raise
    await shift.emit(StreamEvent(type=_TYPE.AGENT_OUTPUT, agent_id=agent, author=agent, message=spoken.text))
    await shift.emit(_complete(agent, usage))
    await mine.keep(ended, jsontext.encode(Ended(text=spoken.text, cut=spoken.cut)))
    return spoken


def _complete(agent: str, usage: Usage, error: str | None = None) -> StreamEvent:
    data = usage.data or None
    return StreamEvent(type=_TYPE.AGENT_COMPLETE, agent_id=agent, author=agent, error=error, data=data)


async def _in_time(shift: Shift, agent: str, prompt: str, text_type: StreamEventType, usage: Usage) -> Spoken:
    limit = shift.bounds.agent_timeout
    with anyio.move_on_after(limit) as scope, playing(agent, usage) as part:
        try:
            spoken = await _stream(shift, part, prompt, text_type)
        except ModelFailed as failure:
            raise unanswered(agent, failure) from failure
        except RecursionError as error:  # a call's arguments, nested deeper than the framework can read
            raise unanswered(agent, ModelFailed(NO_ANSWER)) from error
    if scope.cancelled_caught:
        raise TimedOut(f"The agent {agent} took longer than {limit:g} s.")
    if not spoken.text.strip():
        raise unanswered(agent, ModelFailed(SILENT))
    return spoken


def unanswered(agent: str, failure: ModelFailed) -> ModelFailed:
    """The failure, saying whom it struck."""
    return type(failure)(f"The agent {agent} got no answer. {failure}")


async def _stream(shift: Shift, part: Part, prompt: str, text_type: StreamEventType) -> Spoken:
    room, retell = shift.bounds.max_answer_characters, shift.turn.retell
    speech = Speech(part, shift.emit, text_type, room=room, retell=retell)
    part.hear = speech.hear
    messages = [*await history_messages(shift.turn.history, shift.bounds), Message("user", [prompt])]
    async with shift.team[part.agent].run(messages, stream=True, options=_options(shift)) as stream:
        async for _ in stream:
            if speech.full:
                break
    await speech.end()
    if part.pauses:
        raise Paused(*part.pauses)
    return Spoken(text=speech.text, cut=speech.full)


def _options(shift: Shift) -> ChatOptions[Any]:
    options = ChatOptions[Any]()
    effort = shift.turn.ask.reasoning_effort
    if effort and shift.takes_effort:
        options["reasoning_effort"] = EFFORT[effort]  # type: ignore[typeddict-unknown-key]  # providers add keys
    if wishes := wished(shift):
        options["instructions"] = wishes  # the framework puts them after the agent's own
    return options


def wished(shift: Shift) -> str | None:
    """The caller's instructions, as much of them as any text from outside gets."""
    wishes = shift.turn.ask.instructions
    return both_ends(wishes, shift.bounds.handover_characters) if wishes else None


def _prompt(
    shift: Shift, plan: Plan, agent: str | None, *, reports: Mapping[str, str] | None = None, heading: str = ""
) -> str:
    """The task, the agent's part of it, and what others have written, each in its share of the room."""
    blocks = [shift.turn.ask.message]
    if agent and (part := plan.subtasks.get(agent)):
        blocks.append(f"Your part: {part}")
    if reports:
        share = shift.bounds.handover_characters // len(reports)
        blocks.append(heading)
        blocks += [f"## {name}\n{text[:share]}" for name, text in reports.items()]
    return "\n\n".join(blocks)

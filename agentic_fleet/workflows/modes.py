"""Agents at work: alone, one after the other, or side by side. Their tokens go straight to the run.

A workflow event per token costs more than the agent itself, so agents do not speak through the graph.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
from agent_framework import Agent, ChatOptions, Message

from agentic_fleet.errors import ModelFailed, TimedOut, innermost
from agentic_fleet.events import StreamEvent, StreamEventType
from agentic_fleet.turns import Emit, ReasoningEffort, Turn
from agentic_fleet.workflows.agents import Bounds
from agentic_fleet.workflows.mapping import complete_reasoning, map_update
from agentic_fleet.workflows.plans import Plan, Work

logger = logging.getLogger(__name__)

_EFFORT: Mapping[ReasoningEffort, str] = {"minimal": "low", "medium": "medium", "maximal": "high"}  # OpenAI's words
_TYPE = StreamEventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of the work. `text` is exactly the joined `response.delta` texts; `cut` when it met its bound."""

    text: str
    agent: str
    agents: tuple[str, ...]  # those that finished their part, in the order in which they did
    cut: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)  # agent -> why


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    text: str
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One run's work: the shared agents, and what is this run's own."""

    team: Mapping[str, Agent[Any]]
    bounds: Bounds
    turn: Turn
    emit: Emit
    takes_effort: bool  # whether the model knows the option `reasoning_effort`


async def work(shift: Shift, plan: Plan) -> Answer:
    """Carry out the plan. Raises ModelFailed or TimedOut when there is no answer."""
    return await _MODES[plan.mode](shift, plan)


async def _alone(shift: Shift, plan: Plan) -> Answer:
    (agent,) = plan.agents
    spoken = await _speak(shift, agent, shift.turn.ask.message, about=plan.subtasks.get(agent), answering=True)
    return Answer(text=spoken.text, agent=agent, agents=plan.agents, cut=spoken.cut)


async def _in_turn(shift: Shift, plan: Plan) -> Answer:
    done: dict[str, str] = {}
    for place, agent in enumerate(plan.agents, start=1):
        last = place == len(plan.agents)
        prompt = _prompt(shift, plan, agent, reports=done, heading="The work so far:")
        if last:
            prompt += "\n\nYou are the last to work on this: give the complete answer to the task."
        spoken = await _speak(shift, agent, prompt, about=plan.subtasks.get(agent), answering=last)
        done[agent] = spoken.text
    return Answer(text=spoken.text, agent=agent, agents=plan.agents, cut=spoken.cut)


async def _side_by_side(shift: Shift, plan: Plan) -> Answer:
    reports: dict[str, str] = {}
    failures: dict[str, ModelFailed | TimedOut] = {}

    async def report(agent: str) -> None:
        prompt = _prompt(shift, plan, agent)
        try:
            reports[agent] = (await _speak(shift, agent, prompt, about=plan.subtasks.get(agent), answering=False)).text
        except (ModelFailed, TimedOut) as error:
            logger.warning("one agent of several failed: %s: %s", agent, type(error).__name__)
            failures[agent] = error

    try:
        async with anyio.create_task_group() as tasks:
            for agent in plan.agents:
                tasks.start_soon(report, agent)
    except ExceptionGroup as group:
        raise innermost(group) from None
    if not reports:
        raise failures[plan.agents[0]]
    failed = {agent: str(error) for agent, error in failures.items()}
    synthesist = shift.bounds.synthesis_agent
    prompt = _prompt(shift, plan, None, reports=reports, heading="Your colleagues' reports:")
    if failed:
        prompt += f"\n\nWithout a report, say so if it matters: {', '.join(failed)}."
    prompt += "\n\nMake one complete answer to the task out of the reports."
    spoken = await _speak(shift, synthesist, prompt, about="Make one answer of the reports.", answering=True)
    return Answer(text=spoken.text, agent=synthesist, agents=tuple(reports), cut=spoken.cut, failed=failed)


_MODES: Mapping[Work, Callable[[Shift, Plan], Awaitable[Answer]]] = {
    "fast": _alone,
    "delegated": _alone,
    "sequential": _in_turn,
    "parallel": _side_by_side,
}


async def _speak(shift: Shift, agent: str, prompt: str, *, about: str | None, answering: bool) -> Spoken:
    """One agent's part, from `agent.start` to `agent.complete`, which carries the error when it fails."""
    message = about or shift.team[agent].description
    await shift.emit(StreamEvent(type=_TYPE.AGENT_START, agent_id=agent, author=agent, message=message))
    try:
        spoken = await _in_time(shift, agent, prompt, _TYPE.RESPONSE_DELTA if answering else _TYPE.AGENT_DELTA)
    except (ModelFailed, TimedOut) as error:
        await shift.emit(StreamEvent(type=_TYPE.AGENT_COMPLETE, agent_id=agent, author=agent, error=str(error)))
        raise
    await shift.emit(StreamEvent(type=_TYPE.AGENT_OUTPUT, agent_id=agent, author=agent, message=spoken.text))
    await shift.emit(StreamEvent(type=_TYPE.AGENT_COMPLETE, agent_id=agent, author=agent))
    return spoken


async def _in_time(shift: Shift, agent: str, prompt: str, text_type: StreamEventType) -> Spoken:
    limit = shift.bounds.agent_timeout
    with anyio.move_on_after(limit) as scope:
        spoken = await _stream(shift, agent, prompt, text_type)
    if scope.cancelled_caught:
        raise TimedOut(f"The agent {agent} took longer than {limit:g} s.")
    if not spoken.text.strip():
        raise ModelFailed("The model gave an empty answer.")
    return spoken


async def _stream(shift: Shift, agent: str, prompt: str, text_type: StreamEventType) -> Spoken:
    parts: list[str] = []
    room = shift.bounds.max_answer_characters
    reasoning = ""
    messages = [*_history(shift), Message("user", [prompt])]
    async with shift.team[agent].run(messages, stream=True, options=_options(shift)) as stream:
        async for update in stream:
            events, reasoning = map_update(update, reasoning, agent_id=agent, text_type=text_type)
            for event in _within(room, events):
                parts.append(event.delta or "")
                room -= len(parts[-1])
                await shift.emit(event)
            if room <= 0:
                break
    for event in complete_reasoning(reasoning, agent):
        await shift.emit(event)
    return Spoken(text="".join(parts), cut=room <= 0)


def _within(room: int, events: Sequence[StreamEvent]) -> Iterator[StreamEvent]:
    """The events up to the one that fills `room` characters, which is cut to fit."""
    for event in events:
        if event.delta is not None and len(event.delta) >= room:
            yield msgspec.structs.replace(event, delta=event.delta[:room])
            return
        room -= len(event.delta or "")
        yield event


def _options(shift: Shift) -> ChatOptions[Any]:
    options = ChatOptions[Any]()
    effort = shift.turn.ask.reasoning_effort
    if effort and shift.takes_effort:
        options["reasoning_effort"] = _EFFORT[effort]  # type: ignore[typeddict-unknown-key]  # providers add keys
    return options


def _history(shift: Shift) -> list[Message]:
    """The newest of the conversation that fits, from a user's message on: chat templates insist on that."""
    room, kept = shift.bounds.history_characters, list[Message]()
    newest = shift.turn.history[-shift.bounds.history_messages :] if shift.bounds.history_messages else ()
    for message in reversed(newest):
        kept.append(Message(message.role, [message.content[:room]]))
        room -= len(message.content)
        if room <= 0:
            break
    while kept and kept[-1].role == "assistant":
        kept.pop()
    return kept[::-1]


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

"""The handoff: an agent does the task or passes it to a colleague, who does the same.

It is Agent Framework's: agents hand over by calling a tool that it gives them. A model that knows no tools hands over
to nobody, and the first agent answers.
"""

import copy
import logging
from typing import Any

import anyio
import msgspec
from agent_framework import Agent, Message, Workflow
from agent_framework_orchestrations import HandoffBuilder

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.events import StreamEventType
from agentic_fleet.workflows.agents import EFFORT
from agentic_fleet.workflows.desk import Part, Paused, Step, playing
from agentic_fleet.workflows.framework import owned_events
from agentic_fleet.workflows.history import history_messages
from agentic_fleet.workflows.modes import SILENT, Answer, Ended, Shift, unanswered, wished
from agentic_fleet.workflows.plans import Plan, Said
from agentic_fleet.workflows.speech import Speech
from agentic_fleet.workflows.told import Failure, Told, of, thought
from agentic_fleet.workflows.usage import Usage

logger = logging.getLogger(__name__)

_TYPE = StreamEventType
_REASON_CHARACTERS = 300  # of what an agent says when it hands over


class Handoff:
    """One handoff. Who is next it reads from the framework's events, which are in step with it (see `owned_events`)."""

    def __init__(self, shift: Shift, plan: Plan) -> None:
        self.said: list[Said] = []
        self.failed: dict[str, Failure] = {}
        self.answered = False  # the last who spoke had the last word
        self._shift, self._plan = shift, plan
        self._told = Told(shift)
        self._part = Part(plan.agents[0], self._usage())
        self._scope = anyio.CancelScope()
        self._turns = 0
        self._failure: Step  # of the agent's turn
        self._speech = self._new_speech()

    async def run(self) -> None:
        """Until somebody has the last word. A failure is kept in `failed`; raises Paused."""
        limit = self._shift.bounds.agent_timeout
        with playing(self._part.agent, self._part.usage) as self._part:
            self._part.hear = self._hear
            try:
                with self._scope:
                    await self._follow()
                if self._speech.full:
                    await self._last_word()
                elif self._scope.cancelled_caught:
                    raise TimedOut(f"The agent {self._part.agent} took longer than {limit:g} s.")
            except (ModelFailed, TimedOut) as error:
                agent = self._part.agent
                await self._told.desk.keep(self._failure, jsontext.encode(Ended.by(error)))
                error = unanswered(agent, error) if isinstance(error, ModelFailed) else error
                logger.warning("a handoff ends with a failed agent: %s: %s", agent, type(error).__name__)
                self.failed[agent] = error
                ended = of(agent, _TYPE.AGENT_COMPLETE, error=str(error), data=self._part.usage.data or None)
                await self._told.tell(("failed", agent, self._turns), ended)
            if self._part.pauses:
                raise Paused(*self._part.pauses)

    async def answer(self) -> Answer:
        agent, text = self.said[-1]
        await self._told.tell(("answer", agent, text), of(agent, _TYPE.RESPONSE_DELTA, delta=text))
        agents = tuple(dict.fromkeys(name for name, _ in self.said))
        return Answer(text=text, agent=agent, agents=agents, cut=self._speech.full)

    async def _hear(self, thought: str, text: str) -> bool:
        if self._speech.full:
            return False
        if not await self._speech.hear(thought, text):
            self._scope.cancel("the answer has met its bound")
        return not self._speech.full

    async def _follow(self) -> None:
        await self._begin()
        messages = [
            *await history_messages(self._shift.turn.history, self._shift.bounds),
            Message("user", [self._prompt()]),
        ]
        async with owned_events(self._workflow(), messages) as events:
            async for event in events:
                if event.type == "handoff_sent" and not await self._hand_over(event.data.target):
                    return
        if not self._part.pauses:
            await self._last_word()

    async def _last_word(self) -> None:
        if not self._speech.text.strip():
            raise ModelFailed(SILENT)
        await self._end()
        self.answered = True

    async def _hand_over(self, target: str) -> bool:
        """False when it goes no further."""
        if self._part.pauses:
            return False
        await self._end()
        source = self._part.agent
        reason = self._speech.text.strip()[:_REASON_CHARACTERS] or self._shift.team[target].description or ""
        data = {"from": source, "to": target, "reason": reason}
        message = f"{source.capitalize()} hands over to {target}."
        await self._told.tell(("handoff", self._turns), thought("handoff", message, data))
        if self._turns >= self._shift.bounds.handoff_turns:
            return False
        self._part.agent = target
        await self._begin()
        return True

    async def _begin(self) -> None:
        self._turns += 1
        self._speech = self._new_speech()
        agent, self._part.usage = self._part.agent, self._usage()
        self._failure = await self._told.desk.step("failure", jsontext.encode((agent, self._turns)))
        self._scope.deadline = anyio.current_time() + self._shift.bounds.agent_timeout
        about = self._plan.subtasks.get(agent) or self._shift.team[agent].description
        await self._told.tell(("begin", agent, self._turns), of(agent, _TYPE.AGENT_START, message=about))
        if self._failure.value and not self._shift.turn.retell:
            msgspec.json.decode(self._failure.value, type=Ended).spoken()  # raises it: what followed has been told
        if self._failure.value:  # tried again, it may go well, and ask before it does
            await self._told.desk.keep(self._failure, b"")

    async def _end(self) -> None:
        agent, text = self._part.agent, self._speech.text
        await self._speech.end()
        events = [of(agent, _TYPE.AGENT_COMPLETE, data=self._part.usage.data or None)]
        if text.strip():
            self.said.append((agent, text))
            events.insert(0, of(agent, _TYPE.AGENT_OUTPUT, message=text))
        await self._told.tell(("end", agent, self._turns), *events)

    def _new_speech(self) -> Speech:
        """Of one agent's turn."""
        room, retell = self._shift.bounds.max_answer_characters, self._shift.turn.retell
        return Speech(self._part, self._shift.emit, _TYPE.AGENT_DELTA, room=room, retell=retell)

    def _usage(self) -> Usage:
        """Of one agent's turn."""
        return Usage(kept_counts=not self._shift.turn.retell)

    def _prompt(self) -> str:
        blocks = [self._shift.turn.ask.message]
        blocks += [f"The part of {agent}: {part}" for agent, part in self._plan.subtasks.items()]
        blocks.append(
            "When a colleague is the right one for what is to be done now, hand over, with a word why. "
            "When nothing is left for others, give the complete answer."
        )
        return "\n\n".join(blocks)

    def _workflow(self) -> Workflow:
        agents = [self._own(agent) for agent in self._plan.agents]
        return HandoffBuilder(participants=agents).with_start_agent(agents[0]).build()

    def _own(self, name: str) -> Agent[Any]:
        """A copy for this handoff: the framework leaves history and tools in the agents that it is given."""
        agent = copy.copy(self._shift.team[name])
        agent.context_providers = []
        agent.require_per_service_call_history_persistence = True  # without it a handoff is refused
        effort = self._shift.turn.ask.reasoning_effort
        if effort and self._shift.takes_effort:
            agent.default_options = {**agent.default_options, "reasoning_effort": EFFORT[effort]}
        if wishes := wished(self._shift):
            own = agent.default_options["instructions"]
            agent.default_options = {**agent.default_options, "instructions": f"{own}\n{wishes}"}
        return agent

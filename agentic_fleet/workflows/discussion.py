"""The discussion: agents speak in an order that is decided as they go, each knowing what was said before.

It is Agent Framework's group chat. Its participants are executors of ours, which have the agents speak to the run
directly and see the talk as bounded minutes: the framework's own would send each of them every word as the assistant's.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
from agent_framework import Executor, Message, Workflow, WorkflowContext, handler
from agent_framework_orchestrations import (  # type: ignore[attr-defined]  # two of them are left out of its __all__
    GroupChatBuilder,
    GroupChatParticipantMessage,
    GroupChatRequestMessage,
    GroupChatResponseMessage,
    GroupChatState,
)

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed, TimedOut
from agentic_fleet.workflows.decisions import in_turn
from agentic_fleet.workflows.history import minutes
from agentic_fleet.workflows.modes import Shift, speak
from agentic_fleet.workflows.plans import Choice, Plan, Said
from agentic_fleet.workflows.told import Failure, Told, thought

logger = logging.getLogger(__name__)


class Chair(Protocol):
    """`Decisions.next_speaker`."""

    def __call__(self, task: str, agents: Sequence[str], said: Sequence[Said]) -> Awaitable[Choice]: ...


class Discussion:
    """One discussion. The framework's orchestrator asks it who is next; its speakers have it play their part."""

    def __init__(self, shift: Shift, plan: Plan, chair: Chair) -> None:
        self.said: list[Said] = []
        self.failed: dict[str, Failure] = {}
        self._shift, self._plan, self._chair = shift, plan, chair
        self._told = Told(shift)
        self._next: str | None = None
        self._by_rules = False  # once the chair has talked nonsense, it is not asked again

    def workflow(self) -> Workflow:
        return GroupChatBuilder(
            participants=[Speaker(agent, self.contribution) for agent in self._plan.agents],
            selection_func=self._selected,
            termination_condition=self._over,
        ).build()

    async def contribution(self, agent: str) -> str:
        try:
            spoken = await speak(
                self._shift, agent, self._prompt(agent), about=self._plan.subtasks.get(agent), answering=False
            )
        except (ModelFailed, TimedOut) as error:
            logger.warning("a discussion ends with a failed agent: %s: %s", agent, type(error).__name__)
            self.failed[agent] = error
            return ""
        self.said.append((agent, spoken.text))
        return spoken.text

    def _prompt(self, agent: str) -> str:
        blocks = [self._shift.turn.ask.message]
        if part := self._plan.subtasks.get(agent):
            blocks.append(f"Your part: {part}")
        if self.said:
            room = self._shift.bounds.handover_characters
            blocks += ["You discuss this with colleagues. What was said so far:", minutes(self.said, room)]
            blocks.append("Now you speak. Add or correct what matters, briefly; repeat nothing.")
        else:
            blocks.append("You open a discussion of this with colleagues. Say what matters most, briefly.")
        return "\n\n".join(blocks)

    async def _over(self, _: list[Message]) -> bool:
        """The framework asks this before every turn: here the next speaker is chosen."""
        if self.failed or len(self.said) >= self._shift.bounds.discussion_rounds:
            choice = Choice(speaker=None, decided_by="rule")
        else:
            choice = await self._chosen()
        self._next = choice.speaker
        message = f"{choice.speaker.capitalize()} has the floor." if choice.speaker else "The discussion is over."
        data = {
            "speaker": choice.speaker,
            "round": len(self.said) + (choice.speaker is not None),
            "of": self._shift.bounds.discussion_rounds,
            "decided_by": choice.decided_by,
        }
        await self._told.tell((choice.speaker, self.said), thought("discussion", message, data))
        return choice.speaker is None

    async def _chosen(self) -> Choice:
        """Kept, because a decision that came to nothing is not in the model's journal and might go well next time."""
        agents = self._plan.agents
        step = await self._told.desk.step("speaker", jsontext.encode((agents, self.said)))
        if step.value is not None:
            choice = msgspec.json.decode(step.value, type=Choice)
        elif self._by_rules:
            choice = in_turn(agents, self.said)
        else:
            choice = await self._chair(self._shift.turn.ask.message, agents, self.said)
        if step.value is None:
            await self._told.desk.keep(step, jsontext.encode(choice))
        self._by_rules = self._by_rules or choice.decided_by == "fallback"
        return choice

    def _selected(self, _: GroupChatState) -> str:
        return self._next or ""


class Speaker(Executor):
    """A participant of the framework's group chat. It need not listen: the discussion keeps its minutes."""

    def __init__(self, agent: str, contribution: Callable[[str], Awaitable[str]]) -> None:
        super().__init__(agent)
        self._contribution = contribution

    @handler
    async def listen(self, message: GroupChatParticipantMessage, context: WorkflowContext) -> None:
        pass

    @handler
    async def take_the_floor(
        self, _: GroupChatRequestMessage, context: WorkflowContext[GroupChatResponseMessage]
    ) -> None:
        text = await self._contribution(self.id)
        await context.send_message(GroupChatResponseMessage(Message("assistant", [text], author_name=self.id)))

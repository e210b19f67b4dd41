"""The supervisor: five phases as an Agent Framework graph. Analysis -> routing -> execution -> progress -> quality.

What all runs share (agents, decision programs, roster) is stateless; what belongs to one run lives in the graph that
is built for it and thrown away after it. Phases are workflow events; tokens go straight from the agents to `emit`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from agent_framework import Agent, Executor, Workflow, WorkflowBuilder, WorkflowContext, WorkflowEvent, handler

from agentic_fleet.settings import Settings
from agentic_fleet.turns import Emit, Result, Turn
from agentic_fleet.workflows import framework
from agentic_fleet.workflows.agents import Roster, build_team, load_roster
from agentic_fleet.workflows.classifier import Classifier
from agentic_fleet.workflows.cues import spoken
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.lm import configure_dspy
from agentic_fleet.workflows.mapping import PHASE, Phase, map_workflow_event
from agentic_fleet.workflows.models import Model
from agentic_fleet.workflows.modes import Answer, Shift, work
from agentic_fleet.workflows.plans import Assessment, Plan

logger = logging.getLogger(__name__)


async def build_fleet(settings: Settings, model: Model) -> "Fleet":
    """The fleet that the settings ask for. Trains the classifier when it is to plan: about two seconds of one core.

    Raises BadSetting for a roster or a framework version that will not do.
    """
    framework.prepare()
    configure_dspy()
    roster = load_roster(settings.roster)
    by_model = settings.planner == "model" or (settings.planner == "auto" and not model.small)
    classifier = None if by_model else await anyio.to_thread.run_sync(_classifier, roster)
    decisions = Decisions(roster, lm=model.lm if by_model else None, classifier=classifier)
    return Fleet(roster, build_team(roster, model.chat), decisions, takes_effort=model.provider != "embedded")


def _classifier(roster: Roster) -> Classifier | None:
    try:
        classifier = Classifier(roster)
    except (ImportError, ValueError) as error:
        logger.warning("rules plan instead of the classifier: %s", error)
        return None
    logger.info("the classifier plans; on the held-out tasks: %s", classifier.score)
    return classifier


class Fleet:
    """A `Workflow` (turns.py). Any number of runs at once."""

    def __init__(
        self, roster: Roster, team: Mapping[str, Agent[Any]], decisions: Decisions, *, takes_effort: bool
    ) -> None:
        """`takes_effort`: whether the model knows the option `reasoning_effort`."""
        self.roster = roster
        self._team = team
        self._decisions = decisions
        self._takes_effort = takes_effort

    async def run(self, turn: Turn, emit: Emit) -> Result:
        """See `Workflow.run`. Raises what an agent raised, and RuntimeError when the graph ends without a result."""
        shift = Shift(team=self._team, bounds=self.roster.bounds, turn=turn, emit=emit, takes_effort=self._takes_effort)
        result: Result | None = None
        reasoning = ""
        async with framework.owned_events(_graph(self.roster, self._decisions, shift), Begun()) as events:
            async for event in events:
                if event.type == "output":
                    result = event.data
                mapped, reasoning = map_workflow_event(event, reasoning)
                for each in mapped if isinstance(mapped, list) else filter(None, [mapped]):
                    await emit(each)
        if result is None:  # the framework drops a message that no executor takes, without a word
            raise RuntimeError("The workflow ended without an answer.")
        return result


# What passes between the phases: plain data, because the framework copies it deeply.


@dataclass(frozen=True, slots=True)
class Begun:
    pass


@dataclass(frozen=True, slots=True)
class Analysed:
    plan: Plan


@dataclass(frozen=True, slots=True)
class Routed:
    plan: Plan


@dataclass(frozen=True, slots=True)
class Worked:
    plan: Plan
    answer: Answer


@dataclass(frozen=True, slots=True)
class Assessed:
    answer: Answer
    assessment: Assessment


class Analysis(Executor):
    """How hard is it, and what does it call for? One decision makes the whole plan; routing shows the rest of it."""

    def __init__(self, decisions: Decisions, roster: Roster, shift: Shift) -> None:
        super().__init__("analysis")
        self._decisions, self._roster, self._turn = decisions, roster, shift.turn

    @handler
    async def analyse(self, _: Begun, context: WorkflowContext[Analysed]) -> None:
        plan = await self._decisions.plan(self._turn.ask)
        skills = self._roster.skills(plan.agents)
        data = {"complexity": plan.complexity, "capabilities": skills, "decided_by": plan.decided_by}
        await _announce(context, "analysis", f"A {plan.complexity} task that calls for {spoken(skills)}.", data)
        await context.send_message(Analysed(plan))


class Routing(Executor):
    """Who does it, and how?"""

    def __init__(self) -> None:
        super().__init__("routing")

    @handler
    async def route(self, message: Analysed, context: WorkflowContext[Routed]) -> None:
        plan = message.plan
        data = {
            "mode": plan.mode,
            "agents": list(plan.agents),
            "subtasks": dict(plan.subtasks),
            "reason": plan.reason,
            "decided_by": plan.decided_by,
        }
        await _announce(context, "routing", f"{spoken(plan.agents).capitalize()}: {plan.mode}.", data)
        await context.send_message(Routed(plan))


class Execution(Executor):
    """The work itself."""

    def __init__(self, shift: Shift) -> None:
        super().__init__("execution")
        self._shift = shift

    @handler
    async def carry_out(self, message: Routed, context: WorkflowContext[Worked]) -> None:
        answer = await work(self._shift, message.plan)
        data = {"agents": list(answer.agents), "failed": dict(answer.failed)}
        await _announce(context, "execution", f"{spoken(answer.agents).capitalize()} finished.", data)
        await context.send_message(Worked(message.plan, answer))


class Progress(Executor):
    """Is it done?"""

    def __init__(self, decisions: Decisions, shift: Shift) -> None:
        super().__init__("progress")
        self._decisions, self._turn = decisions, shift.turn

    @handler
    async def assess(self, message: Worked, context: WorkflowContext[Assessed]) -> None:
        answer, fast = message.answer, message.plan.mode == "fast"
        assessment = await self._decisions.assess(self._turn.ask.message, answer.text, cut=answer.cut, fast=fast)
        data = {"verdict": assessment.verdict, "decided_by": assessment.decided_by}
        await _announce(context, "progress", _PROGRESS[assessment.verdict], data)
        await context.send_message(Assessed(answer, assessment))


class Quality(Executor):
    """How good is it?"""

    def __init__(self, pass_score: float) -> None:
        super().__init__("quality")
        self._pass_score = pass_score

    @handler
    async def score(self, message: Assessed, context: WorkflowContext[Any, Result]) -> None:
        answer, assessment = message.answer, message.assessment
        flag = None if assessment.score >= self._pass_score else "low_confidence"
        data = {
            "score": assessment.score,
            "flag": flag,
            "missing": assessment.missing,
            "decided_by": assessment.decided_by,
        }
        text = f"{assessment.score:g} of 10. {assessment.missing}".strip()
        await _announce(context, "quality", text, data, quality_score=assessment.score, quality_flag=flag)
        await context.yield_output(
            Result(
                text=answer.text,
                author=answer.agent,
                agent_id=answer.agent,
                quality_score=assessment.score,
                quality_flag=flag,
            )
        )


_PROGRESS: Mapping[str, str] = {
    "complete": "The answer is complete.",
    "refine": "The answer could be better.",
    "continue": "The answer breaks off.",
}


def _graph(roster: Roster, decisions: Decisions, shift: Shift) -> Workflow:
    """One run's graph; building it costs less than a millisecond."""
    phases: list[Executor] = [
        Analysis(decisions, roster, shift),
        Routing(),
        Execution(shift),
        Progress(decisions, shift),
        Quality(roster.bounds.pass_score),
    ]
    return WorkflowBuilder(start_executor=phases[0], name="fleet", output_from=[phases[-1]]).add_chain(phases).build()


async def _announce(
    context: WorkflowContext[Any, Any], kind: str, message: str, data: Mapping[str, Any], **quality: Any
) -> None:
    phase = Phase(kind=kind, message=message, data=data, **quality)
    await context.add_event(WorkflowEvent(PHASE, phase))  # type: ignore[arg-type]  # any type string is allowed

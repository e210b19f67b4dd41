"""The five phases as executors of one graph: analysis -> routing -> execution -> progress -> quality (-> execution).

A phase begins with a checkpoint and ends with a message to the next one. A phase that pauses or is stopped has sent
none: it is carried out again, and finds in the journal what it had done.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import msgspec
from agent_framework import Executor, WorkflowContext, WorkflowEvent, handler

from agentic_fleet.errors import CheckpointUnreadable, ModelFailed, TimedOut
from agentic_fleet.turns import Result
from agentic_fleet.workflows.approval import approved
from agentic_fleet.workflows.checkpoints import Checkpoints
from agentic_fleet.workflows.cues import spoken
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.desk import Desk, at
from agentic_fleet.workflows.judge import flag_of
from agentic_fleet.workflows.mapping import PHASE, REFINEMENT, Phase, Refinement
from agentic_fleet.workflows.messages import Analysed, Assessed, Begun, Draft, Routed, Settled, Worked
from agentic_fleet.workflows.modes import MODES, Answer, Shift
from agentic_fleet.workflows.orchestrations import discussion, handoff
from agentic_fleet.workflows.plans import Flag, Plan, Work

logger = logging.getLogger(__name__)

_PROGRESS: Mapping[str, str] = {
    "complete": "The answer is complete.",
    "refine": "The answer could be better.",
    "continue": "The answer breaks off.",
}


class _Phase(Executor):
    """One of a turn's graph, named after its class. It keeps nothing between messages: see checkpoints.py."""

    def __init__(self, decisions: Decisions, shift: Shift, checkpoints: Checkpoints) -> None:
        super().__init__(type(self).__name__.lower())
        self._decisions, self._shift, self._checkpoints = decisions, shift, checkpoints


class Analysis(_Phase):
    """How hard is it, and what does it call for? One decision makes the whole plan; routing shows the rest of it."""

    @handler
    async def analyse(self, message: Begun, context: WorkflowContext[Analysed]) -> None:
        await self._checkpoints.keep(message)
        with phase(self._shift, "analysis") as desk:
            plan = await self._decisions.plan(self._shift.turn.ask, self._shift.turn.history)
        data = {
            "complexity": plan.complexity,
            "capabilities": list(plan.capabilities),
            "decided_by": plan.decided_by,
            "cached": plan.cached,
            **desk.usage.data,
        }
        text = f"A {plan.complexity} task that calls for {spoken(plan.capabilities)}."
        await _announce(context, "analysis", text, data)
        await context.send_message(Analysed(plan=plan))


class Routing(_Phase):
    """Who does it, and how? A human has the last word, when the ask wants one."""

    @handler
    async def route(self, message: Analysed, context: WorkflowContext[Routed]) -> None:
        await self._checkpoints.keep(message)
        plan, turn = message.plan, self._shift.turn
        spent: dict[str, Any] = {}
        if turn.ask.require_plan_approval:
            with phase(self._shift, "routing") as desk:
                plan = await approved(plan, desk, lambda said: self._decisions.plan(turn.ask, turn.history, said))
                spent = desk.usage.data
        data = {
            "mode": plan.mode,
            "agents": list(plan.agents),
            "assigned_to": list(plan.agents),  # the same, in the original's word
            "subtasks": dict(plan.subtasks),
            "steps": list(plan.steps),
            "tools": list(plan.tools),
            "reason": plan.reason,
            "decided_by": plan.decided_by,
            "program_version": self._decisions.programs.version,
            **spent,
        }
        await _announce(context, "routing", f"{spoken(plan.agents).capitalize()}: {plan.mode}.", data)
        await context.send_message(Routed(plan=plan))


class Execution(_Phase):
    """The work itself."""

    @handler
    async def carry_out(self, message: Routed, context: WorkflowContext[Worked | Settled]) -> None:
        await self._checkpoints.keep(message)
        if not self._shift.team.keys() >= set(message.plan.agents):
            raise CheckpointUnreadable("The team has changed since this checkpoint was made: begin with another one.")
        shift = _refining(self._shift, message.best) if message.best else self._shift
        try:
            with phase(self._shift, "execution", message.round) as desk:
                answer = await self._way(message.plan.mode)(shift, message.plan)
        except (ModelFailed, TimedOut) as error:
            if message.best is None:
                raise
            logger.warning("a refinement failed, the answer before it stands: %s", type(error).__name__)
            data = {"agents": [], "failed": {"team": str(error)}, "round": message.round}
            await _announce(context, "execution", "The refinement failed: the answer before it stands.", data)
            await context.send_message(Settled(best=message.best))
        else:
            data = {
                "agents": list(answer.agents),
                "failed": dict(answer.failed),
                "round": message.round,
                **desk.usage.data,
            }
            await _announce(context, "execution", f"{spoken(answer.agents).capitalize()} finished.", data)
            await context.send_message(Worked(task=message, answer=answer))

    def _way(self, mode: Work) -> Callable[[Shift, Plan], Awaitable[Answer]]:
        if mode == "discussion":
            return partial(discussion, chair=self._decisions.next_speaker)
        return handoff if mode == "handoff" else MODES[mode]


class Progress(_Phase):
    """Is it done?"""

    @handler
    async def assess(self, message: Worked, context: WorkflowContext[Assessed]) -> None:
        await self._checkpoints.keep(message)
        answer, fast = message.answer, message.task.plan.mode == "fast"
        with phase(self._shift, "progress", message.task.round) as desk:
            task = self._shift.turn.ask.message
            assessment = await self._decisions.assess(task, answer.text, cut=answer.cut, fast=fast)
        data = {
            "verdict": assessment.verdict,
            "action": assessment.verdict,  # the same, in the original's word
            "decided_by": assessment.decided_by,
            "round": message.task.round,
            **desk.usage.data,
        }
        await _announce(context, "progress", _PROGRESS[assessment.verdict], data)
        await context.send_message(Assessed(task=message.task, draft=Draft(answer=answer, assessment=assessment)))


class Quality(_Phase):
    """How good is it, and is it worth another round? The best version is the result, whichever round made it."""

    @handler
    async def score(self, message: Assessed, context: WorkflowContext[Routed, Result]) -> None:
        await self._checkpoints.keep(message)
        task, assessment = message.task, message.draft.assessment
        flag = self._flag(message.draft)
        data = {
            "score": assessment.score,
            "flag": flag,
            "missing": assessment.missing,
            "decided_by": assessment.decided_by,
            "round": task.round,
            "program_version": self._decisions.programs.version,
        }
        text = f"{assessment.score:g} of 10. {assessment.missing}".strip()
        await _announce(context, "quality", text, data, quality_score=assessment.score, quality_flag=flag)
        best = message.draft
        if task.best and task.best.assessment.score >= assessment.score:
            best = task.best
        if not self._worth_another(message):
            await self._yield(best, context)
            return
        again = Refinement(round=task.round + 1, of=1 + self._shift.bounds.max_refinements, missing=assessment.missing)
        await context.add_event(WorkflowEvent(REFINEMENT, again))  # type: ignore[arg-type]  # any type is allowed
        await context.send_message(msgspec.structs.replace(task, round=again.round, best=best))

    @handler
    async def settle(self, message: Settled, context: WorkflowContext[Routed, Result]) -> None:
        await self._checkpoints.keep(message)
        await self._yield(message.best, context)

    async def _yield(self, best: Draft, context: WorkflowContext[Routed, Result]) -> None:
        answer = best.answer
        await context.yield_output(
            Result(
                text=answer.text,
                author=answer.agent,
                agent_id=answer.agent,
                quality_score=best.assessment.score,
                quality_flag=self._flag(best),
            )
        )

    def _flag(self, draft: Draft) -> Flag | None:
        return flag_of(draft.answer.text, draft.assessment.score, self._shift.bounds.pass_score)

    def _worth_another(self, message: Assessed) -> bool:
        """Not when it is good enough, and no further than rounds make it better. A fast answer is to be fast."""
        task, score, bounds = message.task, message.draft.assessment.score, self._shift.bounds
        if not self._shift.turn.ask.refine:
            return False
        if task.plan.mode == "fast" or score >= bounds.pass_score or task.round > bounds.max_refinements:
            return False
        return task.best is None or score - task.best.assessment.score >= bounds.min_improvement


@contextmanager
def phase(shift: Shift, name: str, round: int = 1) -> Iterator[Desk]:
    """One phase at work: within its time, and at a desk of its own. Raises TimedOut."""
    limit = shift.bounds.phase_timeout
    with anyio.move_on_after(limit) as scope, at(Desk(shift.turn, shift.emit, f"{name}.{round}")) as desk:
        yield desk
    if scope.cancelled_caught:
        raise TimedOut(f"The phase {name} took longer than {limit:g} s.")


def _refining(shift: Shift, best: Draft) -> Shift:
    """The same shift with a task that asks for a better answer than `best`."""
    ask, missing = shift.turn.ask, best.assessment.missing
    blocks = [ask.message, f"The last answer was:\n{best.answer.text[: shift.bounds.handover_characters]}"]
    if missing:
        blocks.append(f"What is missing: {missing}")
    blocks.append("Give a better, complete answer.")
    return replace(shift, turn=replace(shift.turn, ask=replace(ask, message="\n\n".join(blocks))))


async def _announce(
    context: WorkflowContext[Any, Any], kind: str, message: str, data: Mapping[str, Any], **quality: Any
) -> None:
    told = Phase(kind=kind, message=message, data=data, **quality)
    await context.add_event(WorkflowEvent(PHASE, told))  # type: ignore[arg-type]  # any type string is allowed

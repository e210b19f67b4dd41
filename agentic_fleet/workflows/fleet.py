"""The supervisor: one Agent Framework graph per turn of a run, over what all runs share.

What all runs share (agents, decision programs, roster, tools) is stateless; what belongs to one turn lives in the graph
that is built for it and thrown away after it. Phases are workflow events; tokens go straight from the agents to `emit`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
from agent_framework import Agent, MiddlewareFailure, Workflow, WorkflowBuilder, WorkflowEvent

from agentic_fleet.about import Check
from agentic_fleet.settings import Settings
from agentic_fleet.turns import Emit, Pause, Result, Turn
from agentic_fleet.workflows import framework
from agentic_fleet.workflows.agents import Roster, build_team, load_roster
from agentic_fleet.workflows.checkpoints import Checkpoints, beginning
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.desk import Paused
from agentic_fleet.workflows.lm import configure_dspy
from agentic_fleet.workflows.mapping import UNHEARD, map_workflow_event
from agentic_fleet.workflows.models import Model
from agentic_fleet.workflows.modes import Shift
from agentic_fleet.workflows.phases import Analysis, Execution, Progress, Quality, Routing
from agentic_fleet.workflows.plans import Assessment
from agentic_fleet.workflows.saved import PACKAGED
from agentic_fleet.workflows.shelf import Programs, Shelf, packaged, trained
from agentic_fleet.workflows.spending import counted
from agentic_fleet.workflows.tools.toolbox import Toolbox, open_toolbox

PROGRAMS = "cache/dspy"
"""Where below the home folder optimised decision programs are kept."""
_VERSION = "programs"
"""The step of a run's memory that says which version of them it began with."""


@asynccontextmanager
async def open_fleet(settings: Settings, model: Model) -> AsyncIterator["Fleet"]:
    """The fleet that the settings ask for, with its tools open for the block.

    Trains the classifier when it is to plan: about two seconds of one core. Raises BadSetting for a roster or a
    framework version that will not do.
    """
    framework.prepare()
    configure_dspy()
    roster = load_roster(settings.roster)
    by_model = plans_by_model(settings, small=model.small)
    basis = packaged(roster, None if by_model else await anyio.to_thread.run_sync(trained, roster))
    shelf = Shelf(settings.home / PROGRAMS, roster, basis)
    decisions = Decisions(roster, lm=model.lm if by_model else None, programs=basis)
    wanted = {tool for member in roster.values() for tool in member.tools}
    async with open_toolbox(roster.tools, wanted) as toolbox:
        team = build_team(roster, model, toolbox, [toolbox.gate])
        takes_effort = model.provider != "embedded"
        fleet = Fleet(roster, team, decisions, takes_effort=takes_effort, toolbox=toolbox, shelf=shelf)
        await shelf.in_force()
        yield fleet


def plans_by_model(settings: Settings, *, small: bool) -> bool:
    """Whether the model decides; else the classifier and rules do."""
    return settings.planner == "model" or (settings.planner == "auto" and not small)


class Fleet:
    """A `Workflow` (turns.py). Any number of runs at once."""

    def __init__(
        self,
        roster: Roster,
        team: Mapping[str, Agent[Any]],
        decisions: Decisions,
        *,
        takes_effort: bool,
        toolbox: Toolbox | None = None,
        shelf: Shelf,
    ) -> None:
        """`takes_effort`: whether the model knows the option `reasoning_effort`. `toolbox` is where `team` has its
        tools from, if it has any; whoever opened it closes it. `shelf` says which programs `decisions` uses for a run.
        """
        self.roster = roster
        self.shelf = shelf
        self.decisions = decisions
        self._toolbox = toolbox
        self._team = team
        self._takes_effort = takes_effort

    @property
    def checks(self) -> Mapping[str, Check]:
        """The state of each tool, as of now."""
        return self._toolbox.checks if self._toolbox else {}

    async def assess(self, task: str, answer: str) -> Assessment:
        """How good an answer is that was given before; by the model when it can, else by rules."""
        return await self.decisions.using(await self.shelf.in_force()).assess(task, answer)

    async def run(self, turn: Turn, emit: Emit) -> Result | Pause:
        """See `Workflow.run`. Raises what an agent raised, CheckpointUnreadable when `turn.checkpoint` will not do, and
        RuntimeError when the graph ends without a result.
        """
        try:
            with counted() as spending:
                result = await self._carry_out(turn, emit)
            # A turn that goes on from a checkpoint does not know what was spent before it.
            return result if turn.checkpoint else replace(result, usage=spending.sum)
        except Paused as paused:
            return Pause(requests=paused.requests)
        except MiddlewareFailure as failure:  # how a tool's gate says that its own work failed
            raise failure.__cause__ or failure from None

    async def _carry_out(self, turn: Turn, emit: Emit) -> Result:
        shift = Shift(team=self._team, bounds=self.roster.bounds, turn=turn, emit=emit, takes_effort=self._takes_effort)
        kit = (self.decisions.using(await self._programs(turn)), shift, Checkpoints(turn, emit))
        first = beginning(turn)
        result: Result | None = None
        async with framework.owned_events(_graph(kit, first.phase), first, unheard=UNHEARD) as events:
            async for event in events:
                if event.type == "output":
                    result = event.data
                if event.type != "status" or not _goes_on(turn):
                    await _tell(event, emit)
        if result is None:  # the framework drops a message that no executor takes, without a word
            raise RuntimeError("The workflow ended without an answer.")
        return result

    async def _programs(self, turn: Turn) -> Programs:
        """The newest for a run that begins; what a run began with for one that goes on, so that it meets its own
        questions and finished steps again. Without that version (its file was deleted), the newest."""
        noted = await turn.memory.step(_VERSION)
        if noted is not None or turn.checkpoint is not None or turn.answers:
            if began_with := await self.shelf.of(noted.decode() if noted else PACKAGED):
                return began_with
        programs = await self.shelf.in_force()
        if programs.version != PACKAGED:
            await turn.memory.keep_step(_VERSION, programs.version.encode())
        return programs


def _goes_on(turn: Turn) -> bool:
    """Whether its readers have seen the beginning."""
    return turn.checkpoint is not None and not turn.retell


async def _tell(event: WorkflowEvent[Any], emit: Emit) -> None:
    mapped, _ = map_workflow_event(event, "")  # the graph reasons nothing itself: its agents do
    for each in mapped if isinstance(mapped, list) else filter(None, [mapped]):
        await emit(each)


def _graph(kit: tuple[Decisions, Shift, Checkpoints], first: str) -> Workflow:
    """One turn's graph, with that phase first and without those that are never reached from there."""
    execution, quality = Execution(*kit), Quality(*kit)
    phases = [Analysis(*kit), Routing(*kit), execution, Progress(*kit), quality]
    start = next(phase for phase in phases if phase.id == first)
    reached = phases[min(phases.index(start), phases.index(execution)) :]  # from execution on they are a circle
    builder = WorkflowBuilder(start_executor=start, name="fleet", output_from=[quality]).add_chain(reached)
    return builder.add_edge(quality, execution).add_edge(execution, quality).build()

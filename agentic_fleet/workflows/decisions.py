"""The supervisor's decisions: who does the task and how, who speaks next, and how good the answer is.

DSPy programs make them with a model that can, a classifier and rules with one that cannot. Whatever a model says is
checked; when it makes no sense, is late or fails, rules decide, so a decision never fails a run.
"""

import hashlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import anyio
import dspy

from agentic_fleet import context, conversations
from agentic_fleet.errors import StoreFailed
from agentic_fleet.turns import Ask
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.changes import named_mode, obeyed
from agentic_fleet.workflows.cues import cue_plan, expected_tools, fast_plan, first_places, simple_plan, spoken
from agentic_fleet.workflows.history import both_ends, history_text, minutes
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.plans import ALONE, WORKS, Assessment, Choice, Plan, PlanCache, Said, Verdict, Work, forced
from agentic_fleet.workflows.programs import STOP, VERDICTS, ShortForm, chair
from agentic_fleet.workflows.shelf import Programs, packaged

T = TypeVar("T")

logger = logging.getLogger(__name__)

_TASK_CHARACTERS = 4_000  # of a task that a decision reads
_ANSWER_CHARACTERS = 8_000  # of an answer, or of a discussion, that it reads
_PART_CHARACTERS = 500  # of one sentence that a model was asked for
_TURNS = 2  # contributions of each agent after which rules end a discussion


class Decisions:
    """Holds no state of a run. Without `lm` only the classifier in `programs` decides, and rules.

    `plans` are kept for equal questions of one caller in an equal conversation. `clock` is theirs.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        lm: Any = None,
        programs: Programs | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roster = roster
        self._lm = lm
        self.programs = programs or packaged(roster)
        self.plans = PlanCache(size=roster.bounds.plan_cache_size, ttl=roster.bounds.plan_cache_ttl, clock=clock)

    def using(self, programs: Programs) -> "Decisions":
        """The same with other programs; the plans are kept together, each under the version that made it."""
        if programs is self.programs:
            return self
        other = copy(self)
        other.programs = programs
        return other

    async def plan(self, ask: Ask, history: Sequence[conversations.Message] = (), changes: Sequence[str] = ()) -> Plan:
        """A plan that can be carried out, in the mode that was asked for. At most one call of the model.

        `changes` are the user's words about an earlier plan, oldest first; they outrank the ask's mode.
        """
        mode = named_mode(changes) or ask.mode
        if ask.mode == "fast" and not changes:
            made = fast_plan(self._roster, "The request asked for a fast answer.")
        elif ask.mode == "auto" and not changes and (simple := simple_plan(ask.message, self._roster)):
            made = simple
        else:
            made = await self._kept_plan(ask.message, await history_text(history, self._roster.bounds), changes)
        likely = tuple(dict.fromkeys((*first_places(ask.message, self._roster), *self._roster)))
        return self._complete(forced(made, mode, likely), ask.message)

    async def assess(self, task: str, answer: str, *, cut: bool = False, fast: bool = False) -> Assessment:
        """At most one call of the model; none for a fast answer, nor for one that was cut at its bound."""
        if self._lm is not None and not fast and not cut and answer.strip():
            inputs = {"task": both_ends(task, _TASK_CHARACTERS), "answer": both_ends(answer, _ANSWER_CHARACTERS)}
            if said := await self._ask("assessment", self.programs.assessor, checked_assessment, inputs):
                return said
        return assess_by_rules(task, answer, cut=cut)

    async def next_speaker(self, task: str, agents: Sequence[str], said: Sequence[Said]) -> Choice:
        """Who speaks next, never the same agent twice in a row. The first agent begins; two must have spoken to stop.

        At most one call of the model, none where there is no choice. Rules let the agents speak in turn, twice each.
        """
        able = tuple(agent for agent in agents if not said or agent != said[-1][0])
        may_stop = len({agent for agent, _ in said}) > 1
        if not said or (len(able) == 1 and not may_stop):
            return Choice(speaker=able[0], decided_by="rule")
        if self._lm is None:
            return in_turn(agents, said)
        program = chair(tuple((agent, self._roster[agent].description) for agent in able), may_stop=may_stop)
        inputs = {"task": both_ends(task, _TASK_CHARACTERS), "said_so_far": minutes(said, _ANSWER_CHARACTERS)}
        check = partial(_checked_choice, able=able, may_stop=may_stop)
        chosen = await self._ask("speaker", program, check, inputs)
        return chosen or replace(in_turn(agents, said), decided_by="fallback")

    async def _kept_plan(self, task: str, talk: str, changes: Sequence[str]) -> Plan:
        """Changes are for one plan only, and what rules made in an emergency is not worth keeping."""
        if changes:
            return await self._plan(task, talk, changes)
        asked = (self.programs.version, context.caller.get(), task, talk)
        key = hashlib.sha256("\0".join(asked).encode("utf-8", "surrogatepass")).digest()
        plan = self.plans.get(key)
        if plan is None:
            plan = await self._plan(task, talk, ())
            if plan.decided_by != "fallback":
                self.plans.keep(key, plan)
        return plan

    async def _plan(self, task: str, talk: str, changes: Sequence[str]) -> Plan:
        if self._lm is None:
            classifier = self.programs.classifier
            plan = classifier.plan(task) if classifier else cue_plan(task, self._roster)
            return obeyed(plan, changes, self._roster)
        check = partial(checked_plan, roster=self._roster)
        inputs = {
            "context": talk,
            "task": both_ends(task, _TASK_CHARACTERS),
            "wanted_changes": both_ends("\n".join(changes), _TASK_CHARACTERS),
        }
        if said := await self._ask("plan", self.programs.planner, check, inputs):
            return said
        return obeyed(replace(cue_plan(task, self._roster), decided_by="fallback"), changes, self._roster)

    def _complete(self, plan: Plan, task: str) -> Plan:
        """With what follows from the agents and their parts."""
        team = [self._roster[name] for name in plan.agents]
        tools = [tool for member in team for tool in member.tools]
        expected = plan.tools if plan.decided_by == "model" else expected_tools(task, tools)
        return replace(
            plan,
            capabilities=tuple(member.skill for member in team),
            steps=tuple(plan.subtasks.get(member.name) or member.description for member in team),
            tools=tuple(dict.fromkeys(tool for tool in expected if tool in tools)),
        )

    async def _ask(self, decision: str, program: Any, check: Callable[[Any], T], inputs: Mapping[str, str]) -> T | None:
        """What the program says, or None. This is the boundary between a run and whatever a model may answer."""
        limit = self._roster.bounds.decision_timeout
        try:
            with anyio.fail_after(limit), dspy.context(lm=self._lm, adapter=ShortForm()):
                return check(await program.acall(**inputs))
        except Exception as error:  # its text is not logged: it may quote the conversation
            if isinstance(cause := error.__cause__ or error, StoreFailed):  # DSPy wraps what is raised
                raise cause from None  # it is no model's fault: the run could not be trusted to go on later
            logger.warning("no usable %s from the model, rules decide: %s", decision, type(error).__name__)
            return None


def in_turn(agents: Sequence[str], said: Sequence[Said]) -> Choice:
    """Rules for a discussion: whoever has spoken least, in the agents' order; over when all have spoken twice."""
    spoken_by = Counter(agent for agent, _ in said)
    if all(spoken_by[agent] >= _TURNS for agent in agents):
        return Choice(speaker=None, decided_by="rule")
    able = [agent for agent in agents if not said or agent != said[-1][0]]
    return Choice(speaker=min(able, key=spoken_by.__getitem__), decided_by="rule")


def checked_plan(said: Any, roster: Roster) -> Plan:
    """Raises ValueError when it names nobody we know; anything else that is wrong gets a sound value."""
    places = [place for place in range(1, roster.bounds.max_agents + 1) if said.get(f"agent_{place}") in roster]
    parts: dict[str, str] = {}
    for place in places:
        parts.setdefault(said[f"agent_{place}"], str(said.get(f"part_{place}") or "").strip()[:_PART_CHARACTERS])
    agents = tuple(parts)
    if not agents:
        raise ValueError("no known agent")
    mode: Work = said.mode if said.mode in WORKS else "sequential"
    if len(agents) == 1 and mode not in ALONE:
        mode = "delegated"
    if mode in ALONE:
        agents = agents[:1]
    return Plan(
        complexity=said.complexity if said.complexity in ("simple", "complex") else "complex",
        mode=mode,
        agents=agents,
        subtasks={name: parts[name] for name in agents if parts[name]},
        tools=tuple(tool for place in places if isinstance(tool := said.get(f"tool_{place}"), str)),
        reason=f"The model sees work for {spoken(roster.skills(agents))}.",
        decided_by="model",
    )


def checked_assessment(said: Any) -> Assessment:
    """Raises ValueError without a score; scores are brought into 0..10."""
    score = float(said.score)
    if math.isnan(score):
        raise ValueError("no score")
    missing = str(said.missing or "").strip()[:_PART_CHARACTERS]
    sound: Verdict = "refine" if missing else "complete"
    verdict = said.verdict if said.verdict in VERDICTS else sound
    return Assessment(verdict=verdict, score=min(10.0, max(0.0, score)), missing=missing, decided_by="model")


def _checked_choice(said: Any, *, able: Sequence[str], may_stop: bool) -> Choice:
    """Raises ValueError for anybody else."""
    if said.speaker in able:
        return Choice(speaker=said.speaker, decided_by="model")
    if may_stop and said.speaker == STOP:
        return Choice(speaker=None, decided_by="model")
    raise ValueError("no known speaker")

"""A team over the fake model that talks to each other, without the phases around it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from agentic_fleet.events import StreamEventType
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.turns import Turn
from agentic_fleet.workflows.agents import build_team
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.desk import Desk, Paused, at
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import configure_dspy
from agentic_fleet.workflows.modes import Answer, Shift
from agentic_fleet.workflows.orchestrations import discussion, handoff
from agentic_fleet.workflows.plans import Plan, Work
from agentic_fleet.workflows.tools.toolbox import Toolbox
from tests.workflows.team import Screen, bounded, model_over, says, turn


class Stage:
    """A team over the fake model, and everything that an orchestration needs beside a plan."""

    def __init__(
        self, endpoint: Endpoint, *, by_model: bool = False, toolbox: Toolbox | None = None, **bounds: Any
    ) -> None:
        configure_dspy()
        self.roster = bounded(**bounds)
        model = model_over(endpoint, small=False)
        self.decisions = Decisions(self.roster, lm=model.lm if by_model else None)
        self.team = build_team(self.roster, model, toolbox, [toolbox.gate] if toolbox else ())
        self.turn = turn()
        self.screen = Screen()

    async def discuss(self, *agents: str) -> Answer:
        with self._desk() as shift:
            return await discussion(shift, plan_for("discussion", *agents), self.decisions.next_speaker)

    async def hand_over(self, *agents: str) -> Answer:
        with self._desk() as shift:
            return await handoff(shift, plan_for("handoff", *agents))

    @contextmanager
    def _desk(self) -> Iterator[Shift]:
        shift = Shift(team=self.team, bounds=self.roster.bounds, turn=self.turn, emit=self.screen, takes_effort=True)
        with at(Desk(self.turn, self.screen)):
            yield shift

    def go_on(self, paused: Paused, *answers: Any) -> None:
        """The human has answered: the same log goes on, on a new screen."""
        given = {request.request_id: answer for request, answer in zip(paused.requests, answers, strict=True)}
        self._next(replace(self.turn, answers={**self.turn.answers, **given}))

    def begin_anew(self) -> None:
        self._next(replace(self.turn, retell=True))

    def _next(self, next_turn: Turn) -> None:
        self.turn, self.screen = next_turn, Screen()


def plan_for(mode: Work, *agents: str) -> Plan:
    parts = {agent: f"the part of {agent}" for agent in agents}
    return Plan(complexity="complex", mode=mode, agents=agents, subtasks=parts, reason="", decided_by="rule")


def asking(question: str, *tokens: str) -> Reply:
    return says(*tokens, tool_calls=[("ask_user", json.dumps({"question": question}))])


def floor(screen: Screen) -> list[str | None]:
    """Who was given the floor; None at the end."""
    return [
        (e.data or {})["speaker"] for e in screen.of(StreamEventType.ORCHESTRATOR_THOUGHT) if e.kind == "discussion"
    ]


def in_order(*replies: Reply) -> Callable[[Body], Reply]:
    """Each of them once."""
    left = iter(replies)
    return lambda body: next(left)


def prompts(fake: ScriptedModel) -> list[str]:
    return [call.body["messages"][-1]["content"] for call in fake.calls]

"""A scripted model that plans and judges, and does so better the better it is asked."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agentic_fleet import jsontext
from agentic_fleet.learning.curriculum import gather
from agentic_fleet.testing import Body, Reply
from agentic_fleet.testing.least_json import least
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.tasks import Task, labelled_tasks

SECRET = "Count the products that the task asks for"
"""The instruction that a good optimiser finds out: the model proposes it when it is asked to write instructions."""
_CURRICULUM = gather(load_roster())
_LABELS = {task.task: task for task in labelled_tasks()}
_JUDGED = {(it.task, it.answer): it for it in (*_CURRICULUM.judgements, *_CURRICULUM.held_out_judgements)}


@dataclass
class Player:
    """Knows the labels. It uses them for a share of the tasks (always the same ones): `able`; more with examples of
    its own work in the prompt, or with the secret in its instructions. Else it takes everybody for a coder."""

    able: int = 50  # percent
    with_examples: int = 80
    with_secret: int = 100
    packaged_examples: int = 6
    asked: list[str] = field(default_factory=list)  # "plan", "judgement", "instruction": in the order of the calls

    def __call__(self, body: Body) -> Reply:
        wanted = body.get("response_format")
        fields = wanted["json_schema"]["schema"]["properties"] if wanted else {}
        if "mode" in fields:
            return self._said("plan", self._plan(body))
        if "verdict" in fields:
            return self._said("judgement", self._judgement(body))
        if wanted:  # MIPROv2's questions about the data, and for instructions
            said = {name: f"{SECRET}." for name in fields if fields[name].get("type") == "string"}
            return self._said("instruction", least(wanted["json_schema"]["schema"]) | said)
        self.asked.append("instruction")  # GEPA's
        return Reply(f"```\n{SECRET}.\n```")

    def _said(self, kind: str, answer: Mapping[str, Any]) -> Reply:
        self.asked.append(kind)
        return Reply(tokens=[jsontext.encode(answer).decode()])

    def _plan(self, body: Body) -> dict[str, Any]:
        task = _LABELS[_input(body, "Task")]
        return plan_of(task if self._knows(body, task.task) else None)

    def _judgement(self, body: Body) -> dict[str, Any]:
        text = body["messages"][-1]["content"]
        asked = (it for (task, answer), it in _JUDGED.items() if text == f"Task: {task}\nAnswer: {answer}")
        wanted = next(asked, None)  # a run's answer has no label
        if wanted is None or not self._knows(body, wanted.answer):
            return {"missing": "", "score": 9, "verdict": "complete"}
        missing = "" if wanted.verdict == "complete" else "Some of it."
        return {"missing": missing, "score": round((wanted.low + wanted.high) / 2), "verdict": wanted.verdict}

    def _knows(self, body: Body, text: str) -> bool:
        shown = sum(message["role"] == "assistant" for message in body["messages"])
        skill = self.able
        if SECRET in body["messages"][0]["content"]:
            skill = self.with_secret
        elif shown > self.packaged_examples:
            skill = self.with_examples
        return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 100 < skill


def plan_of(task: Task | None) -> dict[str, Any]:
    agents = task.agents if task else ("coder",)
    places = {f"agent_{place}": agent for place, agent in enumerate((*agents, "none", "none")[:3], start=1)}
    parts = {f"part_{place}": f"The part of {agent}." for place, agent in enumerate(agents, start=1)}
    mode, complexity = (task.mode, task.complexity) if task else ("delegated", "simple")
    return {"complexity": complexity, "mode": mode, **places, **parts}


def _input(body: Body, label: str) -> str:
    """What the last user message gives under that label."""
    lines: str = body["messages"][-1]["content"]
    return lines.partition(f"{label}: ")[2]

"""The supervisor's two decisions: who does the task and how, and how good the answer is.

DSPy programs make them with a model that can, a classifier and rules with one that cannot. Whatever a model says is
checked; when it makes no sense, is late or fails, rules decide, so a decision never fails a run.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar, get_args

import anyio
import dspy

from agentic_fleet.turns import Ask
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.classifier import Classifier, Task, labelled_tasks
from agentic_fleet.workflows.cues import cue_plan, fast_plan, first_places, simple_plan, spoken
from agentic_fleet.workflows.judge import assess_by_rules
from agentic_fleet.workflows.plans import ALONE, WORKS, Assessment, Plan, Verdict, Work, forced

T = TypeVar("T")

logger = logging.getLogger(__name__)

_NOBODY = "none"
_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_TASK_CHARACTERS = 4_000  # of a task that a decision reads
_ANSWER_CHARACTERS = 8_000  # of an answer that the assessor reads
_PART_CHARACTERS = 500  # of one sentence that a model was asked for
_HINT: Mapping[Work, str] = {
    "fast": "the answer is a sentence or two",
    "delegated": "one agent does it all",
    "sequential": "each agent builds on the one before",
    "parallel": "the agents' parts do not need each other",
}


class ShortForm(dspy.JSONAdapter):  # type: ignore[misc]  # DSPy is not typed
    """DSPy's JSON adapter with half its prompt: a line per field, demonstrations as chat turns.

    A model that obeys schemas gets one (the JSON adapter sees to it). Values are passed on as they came: they are
    checked one by one, and one bad word must not spoil the rest.
    """

    def format(self, signature: Any, demos: list[dict[str, Any]], inputs: dict[str, Any]) -> list[dict[str, Any]]:
        told = [signature.instructions, "Answer with a JSON object with these keys, and nothing else:"]
        told += [f"{name}: {field.json_schema_extra['desc']}" for name, field in signature.output_fields.items()]
        messages = [{"role": "system", "content": "\n".join(told)}]
        for demo in demos:
            answer = json.dumps({name: demo[name] for name in signature.output_fields}, ensure_ascii=False)
            messages.append({"role": "user", "content": _shown(signature, demo)})
            messages.append({"role": "assistant", "content": answer})
        return [*messages, {"role": "user", "content": _shown(signature, inputs)}]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        said = json.loads(completion[completion.find("{") : completion.rfind("}") + 1])
        return {name: said.get(name) for name in signature.output_fields}


class Decisions:
    """Holds no state of a run. Without `lm` only the classifier and rules decide, without `classifier` only rules."""

    def __init__(self, roster: Roster, *, lm: Any = None, classifier: Classifier | None = None) -> None:
        self._roster = roster
        self._lm = lm
        self._classifier = classifier
        self._planner = _planner(roster)
        self._assessor = dspy.Predict(_assessment())

    async def plan(self, ask: Ask) -> Plan:
        """A plan that can be carried out, in the mode that was asked for. At most one call of the model."""
        if ask.mode == "fast":
            return fast_plan(self._roster, "The request asked for a fast answer.")
        if ask.mode == "auto" and (plan := simple_plan(ask.message, self._roster)):
            return plan
        likely = tuple(dict.fromkeys((*first_places(ask.message, self._roster), *self._roster)))
        return forced(await self._plan(ask.message), ask.mode, likely)

    async def assess(self, task: str, answer: str, *, cut: bool = False, fast: bool = False) -> Assessment:
        """At most one call of the model; none for a fast answer, nor for one that was cut at its bound."""
        if self._lm is not None and not fast and not cut and answer.strip():
            inputs = {"task": _ends(task, _TASK_CHARACTERS), "answer": _ends(answer, _ANSWER_CHARACTERS)}
            if said := await self._ask("assessment", self._assessor, _checked_assessment, inputs):
                return said
        return assess_by_rules(task, answer, cut=cut)

    async def _plan(self, task: str) -> Plan:
        if self._lm is None:
            return self._classifier.plan(task) if self._classifier else cue_plan(task, self._roster)
        check = partial(_checked_plan, roster=self._roster)
        said = await self._ask("plan", self._planner, check, {"task": _ends(task, _TASK_CHARACTERS)})
        return said or replace(cue_plan(task, self._roster), decided_by="fallback")

    async def _ask(self, decision: str, program: Any, check: Callable[[Any], T], inputs: Mapping[str, str]) -> T | None:
        """What the program says, or None. This is the boundary between a run and whatever a model may answer."""
        limit = self._roster.bounds.decision_timeout
        try:
            with anyio.fail_after(limit), dspy.context(lm=self._lm, adapter=ShortForm()):
                return check(await program.acall(**inputs))
        except Exception as error:  # its text is not logged: it may quote the conversation
            logger.warning("no usable %s from the model, rules decide: %s", decision, type(error).__name__)
            return None


def _planner(roster: Roster) -> Any:
    """The planning program: closed sets instead of lists, so that no answer can be long or name a stranger."""
    most = min(roster.bounds.max_agents, len(roster))
    team = "\n".join(f"- {member.name}: {member.description}" for member in roster.values())
    modes = ", ".join(f"{mode} ({_HINT[mode]})" for mode in WORKS)
    fields: dict[str, Any] = {
        "task": (str, dspy.InputField()),
        "complexity": (_closed("simple", "complex"), dspy.OutputField(desc="simple or complex")),
        "mode": (_closed(*WORKS), dspy.OutputField(desc=modes)),
    }
    for place in range(1, most + 1):
        names = tuple(roster) if place == 1 else (*roster, _NOBODY)
        told = "the agent to work first" if place == 1 else f"the next agent, or {_NOBODY}"
        fields[f"agent_{place}"] = (_closed(*names), dspy.OutputField(desc=told))
        fields[f"part_{place}"] = (str, dspy.OutputField(desc="its part of the task, one sentence"))
    instructions = f"You lead a team. Decide who works on the task, and how. Use as few agents as it needs.\n{team}"
    program = dspy.Predict(dspy.Signature(fields, instructions))
    program.demos = [_demonstration(task, most) for task in labelled_tasks() if _can_show(task, roster, most)]
    return program


def _can_show(task: Task, roster: Roster, most: int) -> bool:
    return bool(task.subtasks) and set(task.agents) <= roster.keys() and len(task.agents) <= most


def _demonstration(task: Task, most: int) -> Any:
    shown = {"task": task.task, "complexity": task.complexity, "mode": task.mode}
    for place in range(1, most + 1):
        here = place <= len(task.agents)
        shown[f"agent_{place}"] = task.agents[place - 1] if here else _NOBODY
        shown[f"part_{place}"] = task.subtasks[place - 1] if here else ""
    return dspy.Example(**shown).with_inputs("task")


def _assessment() -> Any:
    fields: dict[str, Any] = {
        "task": (str, dspy.InputField()),
        "answer": (str, dspy.InputField()),
        "missing": (str, dspy.OutputField(desc="what is missing or wrong, one sentence; empty when nothing is")),
        "score": (_closed(*range(11)), dspy.OutputField(desc="0 (useless) to 10 (could not be better)")),
        "verdict": (_closed(*_VERDICTS), dspy.OutputField(desc="complete, refine (faulty) or continue (breaks off)")),
    }
    return dspy.Signature(fields, "Judge how well the answer does the task. Be strict and brief.")


def _checked_plan(said: Any, roster: Roster) -> Plan:
    """Raises ValueError when it names nobody we know; anything else that is wrong gets a sound value."""
    parts = {
        name: str(said.get(f"part_{place}") or "").strip()[:_PART_CHARACTERS]
        for place in range(roster.bounds.max_agents, 0, -1)
        if (name := said.get(f"agent_{place}")) in roster
    }
    agents = tuple(reversed(parts))
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
        reason=f"The model sees work for {spoken(roster.skills(agents))}.",
        decided_by="model",
    )


def _checked_assessment(said: Any) -> Assessment:
    """Raises ValueError without a score; scores are brought into 0..10."""
    score = float(said.score)
    if math.isnan(score):
        raise ValueError("no score")
    missing = str(said.missing or "").strip()[:_PART_CHARACTERS]
    sound: Verdict = "refine" if missing else "complete"
    verdict = said.verdict if said.verdict in _VERDICTS else sound
    return Assessment(verdict=verdict, score=min(10.0, max(0.0, score)), missing=missing, decided_by="model")


def _closed(*values: object) -> Any:
    return Literal.__getitem__(values)


def _shown(signature: Any, given: Mapping[str, Any]) -> str:
    return "\n".join(f"{name.capitalize()}: {given[name]}" for name in signature.input_fields)


def _ends(text: str, most: int) -> str:
    """The beginning and the end of a long text: between them they say what it is and whether it is whole."""
    return text if len(text) <= most else f"{text[: most // 2]}\n[...]\n{text[-most // 2 :]}"

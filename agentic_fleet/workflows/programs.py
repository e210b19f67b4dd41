"""The supervisor's DSPy programs: what a model is asked when it plans, assesses an answer, or picks a speaker.

Closed sets instead of lists, so that no answer can be long or name a stranger. What comes back is still only what some
model said: decisions.py checks it. A program is never changed; a better one takes its place.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, get_args

import dspy

from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.cues import expected_tools
from agentic_fleet.workflows.plans import WORKS, Verdict, Work
from agentic_fleet.workflows.tasks import Task, labelled_tasks

NOBODY = "none"
STOP = "stop"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_HINT: Mapping[Work, str] = {
    "fast": "the answer is a sentence or two",
    "delegated": "one agent does it all",
    "sequential": "each agent builds on the one before",
    "parallel": "the agents' parts do not need each other",
}


class ShortForm(dspy.JSONAdapter):  # type: ignore[misc]  # DSPy is not typed
    """DSPy's JSON adapter with half its prompt: a line per field, demonstrations as chat turns, nothing for an input
    that is empty.

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


def planner(roster: Roster) -> Any:
    """In: task; context and wanted_changes, which may be empty. Out: complexity, mode, and for each place an agent, its
    part, and the tool that it will need."""
    most = min(roster.bounds.max_agents, len(roster))
    team = "\n".join(f"- {member.name}: {member.description}" for member in roster.values())
    modes = ", ".join(f"{mode} ({_HINT[mode]})" for mode in WORKS)
    tools = tuple(dict.fromkeys(tool for member in roster.values() for tool in member.tools))
    fields: dict[str, Any] = {
        "context": (str, dspy.InputField()),
        "task": (str, dspy.InputField()),
        "wanted_changes": (str, dspy.InputField()),
        "complexity": (_closed("simple", "complex"), dspy.OutputField(desc="simple or complex")),
        "mode": (_closed(*WORKS), dspy.OutputField(desc=modes)),
    }
    for place in range(1, most + 1):
        names = tuple(roster) if place == 1 else (*roster, NOBODY)
        told = "the agent to work first" if place == 1 else f"the next agent, or {NOBODY}"
        fields[f"agent_{place}"] = (_closed(*names), dspy.OutputField(desc=told))
        fields[f"part_{place}"] = (str, dspy.OutputField(desc="its part of the task, one sentence"))
        if tools:
            fields[f"tool_{place}"] = (
                _closed(*tools, NOBODY),
                dspy.OutputField(desc=f"the tool it needs, or {NOBODY}"),
            )
    instructions = f"You lead a team. Decide who works on the task, and how. Use as few agents as it needs.\n{team}"
    program = dspy.Predict(dspy.Signature(fields, instructions))
    program.demos = [_demonstration(task, roster, most) for task in labelled_tasks() if _can_show(task, roster, most)]
    return program


def assessor() -> Any:
    """In: task, answer. Out: missing, score, verdict."""
    fields: dict[str, Any] = {
        "task": (str, dspy.InputField()),
        "answer": (str, dspy.InputField()),
        "missing": (str, dspy.OutputField(desc="what is missing or wrong, one sentence; empty when nothing is")),
        "score": (_closed(*range(11)), dspy.OutputField(desc="0 (useless) to 10 (could not be better)")),
        "verdict": (_closed(*VERDICTS), dspy.OutputField(desc="complete, refine (faulty) or continue (breaks off)")),
    }
    return dspy.Predict(dspy.Signature(fields, "Judge how well the answer does the task. Be strict and brief."))


@lru_cache(maxsize=256)
def chair(agents: tuple[tuple[str, str], ...], *, may_stop: bool) -> Any:
    """For a discussion among `agents` (name, description), of whom those given may speak next.

    In: task, said_so_far. Out: speaker. Kept, because DSPy takes milliseconds to build one.
    """
    names = [name for name, _ in agents] + ([STOP] if may_stop else [])
    end = f", or {STOP} when the task is done and nobody could add to it" if may_stop else ""
    fields: dict[str, Any] = {
        "task": (str, dspy.InputField()),
        "said_so_far": (str, dspy.InputField()),
        "speaker": (_closed(*names), dspy.OutputField(desc=f"who speaks next{end}")),
    }
    team = "\n".join(f"- {name}: {description}" for name, description in agents)
    told = f"You chair a discussion. Let those speak who can add or correct something that matters.\n{team}"
    return dspy.Predict(dspy.Signature(fields, told))


def _can_show(task: Task, roster: Roster, most: int) -> bool:
    return bool(task.subtasks) and set(task.agents) <= roster.keys() and len(task.agents) <= most


def _demonstration(task: Task, roster: Roster, most: int) -> Any:
    shown = {"task": task.task, "complexity": task.complexity, "mode": task.mode}
    for place in range(1, most + 1):
        here = place <= len(task.agents)
        name = task.agents[place - 1] if here else NOBODY
        shown[f"agent_{place}"] = name
        shown[f"part_{place}"] = task.subtasks[place - 1] if here else ""
        needed = expected_tools(task.task, roster[name].tools) if here else ()
        shown[f"tool_{place}"] = needed[0] if needed else NOBODY
    return dspy.Example(**shown).with_inputs("task")


def _closed(*values: object) -> Any:
    return Literal.__getitem__(values)


def _shown(signature: Any, given: Mapping[str, Any]) -> str:
    labels = {name: name.replace("_", " ").capitalize() for name in signature.input_fields}
    return "\n".join(f"{label}: {given[name]}" for name, label in labels.items() if given.get(name))

"""What the decision programs really are: what a model is told by them, which of them are in force, what is cached.

Read from the very objects that decide, so it cannot tell anything else than they do.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio

from agentic_fleet import jsontext
from agentic_fleet.errors import NotFound
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.programs import ShortForm
from agentic_fleet.workflows.saved import PACKAGED, Saved, Unreadable
from agentic_fleet.workflows.shelf import Programs, Shelf, signature_hash
from agentic_fleet.workflows.tasks import labelled_tasks, same_text

logger = logging.getLogger(__name__)

HIDDEN = "(somebody else's)"
"""What stands in an example of another caller's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspection:
    """`by_model`: whether a model is asked with the programs; else the classifier and rules decide. `provider` and
    `model` name it."""

    shelf: Shelf
    decisions: Decisions
    by_model: bool
    provider: str
    model: str

    async def prompts(self, caller: str) -> dict[str, dict[str, Any]]:
        """By program. An example of another caller's tasks is hidden from this one."""
        programs = await self.shelf.in_force()
        owner = await self._owner(programs)
        return {name: self._prompt(program, owner in (None, caller)) for name, program in _programs(programs)}

    async def signatures(self) -> dict[str, dict[str, Any]]:
        return {name: _signature(name, program) for name, program in _programs(await self.shelf.in_force())}

    async def config(self) -> dict[str, Any]:
        programs = await self.shelf.in_force()
        planner = "model" if self.by_model else "classifier" if programs.classifier else "rules"
        knobs = programs.classifier.knobs if programs.classifier and not self.by_model else None
        return {
            "lm_provider": f"{self.provider}: {self.model}",
            "adapter": ShortForm.__name__,
            "planner": planner,
            "assessor": "model" if self.by_model else "rules",
            "program_version": programs.version,
            "classifier": knobs
            and {
                **jsontext.decode(jsontext.encode(knobs), dict[str, Any]),
                "learned": len(programs.classifier.learned) if programs.classifier else 0,
            },
        }

    async def cache(self) -> dict[str, Any]:
        """Of the optimised programs on disk."""
        programs = await self.shelf.in_force()
        kept = await self._saved(programs)
        size = await anyio.to_thread.run_sync(saved.size, self.shelf.folder)
        return {
            "exists": size > 0,
            "created_at": kept.created_at if kept else None,
            "cache_size_bytes": size,
            "optimizer": kept.optimizer if kept else None,
            "signature_hash": signature_hash(programs.planner.signature),
        }

    @property
    def plans_kept(self) -> int:
        return len(self.decisions.plans)

    def forget_plans(self) -> None:
        self.decisions.plans.clear()

    async def clear(self) -> None:
        """Delete every optimised program; the packaged ones are in force from the next run on."""
        await anyio.to_thread.run_sync(saved.clear, self.shelf.folder)
        await self.shelf.in_force()

    async def versions(self) -> tuple[str, list[Saved]]:
        """The one in force, and all that are saved, the newest first."""
        kept = await anyio.to_thread.run_sync(saved.listing, self.shelf.folder)
        return (await self.shelf.in_force()).version, kept

    async def adopt(self, version: str) -> str:
        """Put that version in force, an earlier one or the packaged one; which one is now. NotFound, Misfit."""
        await self.shelf.checked(version)
        await anyio.to_thread.run_sync(saved.put_in_force, self.shelf.folder, version)
        return (await self.shelf.in_force()).version

    def _prompt(self, program: Any, shown: bool) -> dict[str, Any]:
        signature = program.signature
        demos = [_demo(signature, demo, shown) for demo in program.demos]
        system = ShortForm().format(signature, [], dict.fromkeys(signature.input_fields, ""))[0]["content"]
        return {
            "instructions": signature.instructions,
            "system": system,
            "inputs": [_field(name, field) for name, field in signature.input_fields.items()],
            "outputs": [_field(name, field) for name, field in signature.output_fields.items()],
            "demos_count": len(demos),
            "demos": demos,
            "in_use": self.by_model,
        }

    async def _saved(self, programs: Programs) -> Saved | None:
        if programs.version == PACKAGED:
            return None
        try:
            return await anyio.to_thread.run_sync(saved.read, self.shelf.folder, programs.version)
        except (NotFound, Unreadable):  # deleted while it is still in force
            return None

    async def _owner(self, programs: Programs) -> str | None:
        kept = await self._saved(programs)
        return kept.owner if kept else None


def _programs(programs: Programs) -> list[tuple[str, Any]]:
    return [("planner", programs.planner), ("assessor", programs.assessor)]


def _field(name: str, field: Any) -> dict[str, str]:
    return {"name": name, "desc": _desc(field), "prefix": f"{name.replace('_', ' ').capitalize()}:"}


def _desc(field: Any) -> str:
    """An input without a description of its own is shown to the model by its name alone."""
    desc: str = field.json_schema_extra["desc"]
    return "" if desc.startswith("${") else desc


def _signature(name: str, program: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": type(program).__name__,
        "instructions": program.signature.instructions,
        "input_fields": list(program.signature.input_fields),
        "output_fields": list(program.signature.output_fields),
        "hash": signature_hash(program.signature),
    }


def _demo(signature: Any, demo: Any, shown: bool) -> dict[str, str]:
    found: Mapping[str, Any] = {name: demo[name] for name in signature.fields if name in demo and demo[name] != ""}
    if not shown and same_text(str(found.get("task", ""))) not in _packaged():
        return {name: HIDDEN for name in found}
    return {name: str(value) for name, value in found.items()}


def _packaged() -> set[str]:
    return {same_text(task.task) for task in labelled_tasks()}

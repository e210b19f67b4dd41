"""The decision programs in force. They are swapped whole, and every turn of a run reads them once, at its start.

What is on disk decides (saved.py): whoever moves the pointer there, a job of this process or a script beside it, the
next run uses what it points to. A program that cannot be used leaves the one before it in force, and the log says so.
"""

import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import dspy

from agentic_fleet import jsontext
from agentic_fleet.errors import Conflict, FleetError
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.agents import Roster
from agentic_fleet.workflows.classifier import Classifier
from agentic_fleet.workflows.programs import assessor, planner
from agentic_fleet.workflows.saved import PACKAGED, Saved, SavedPrompt

logger = logging.getLogger(__name__)

_KEPT = 4  # versions ready for use, besides the packaged one: those of runs that were paused before a swap


class Misfit(Conflict):
    """A saved program was made for another roster, or for another form of this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """One version of everything that decides. Never changed; a better one takes its place."""

    version: str
    planner: Any  # DSPy programs
    assessor: Any
    classifier: Classifier | None


def packaged(roster: Roster, classifier: Classifier | None = None) -> Programs:
    return Programs(version=PACKAGED, planner=planner(roster), assessor=assessor(), classifier=classifier)


def trained(roster: Roster) -> Classifier | None:
    """The packaged classifier, or None with a warning when there can be none. Takes seconds of one core."""
    try:
        classifier = Classifier(roster)
    except (ImportError, ValueError) as error:
        logger.warning("rules plan instead of the classifier: %s", error)
        return None
    logger.info("the classifier plans; on the held-out tasks: %s", classifier.score)
    return classifier


def build(roster: Roster, basis: Programs, kept: Saved) -> Programs:
    """The programs that `kept` says; `basis` gives the packaged parts. Takes seconds when it has a classifier.

    Raises Misfit.
    """
    classifier = basis.classifier
    if classifier and kept.classifier:
        try:
            classifier = Classifier(roster, learned=kept.classifier.learned, knobs=kept.classifier.knobs)
        except ValueError as error:
            raise Misfit(f"The classifier of program {kept.id} does not fit: {error}") from None
    return Programs(
        version=kept.id,
        planner=_with(basis.planner, kept.planner, kept.id),
        assessor=_with(basis.assessor, kept.assessor, kept.id),
        classifier=classifier,
    )


def prompt_of(program: Any) -> SavedPrompt:
    """What an optimiser may have changed of a DSPy program."""
    demos = tuple({key: demo[key] for key in demo.keys() if key in program.signature.fields} for demo in program.demos)
    return SavedPrompt(
        signature=signature_hash(program.signature), instructions=program.signature.instructions, demos=demos
    )


def signature_hash(signature: Any) -> str:
    """Of what a program is given and asked for, its instructions left out: they may be improved."""
    fields = [
        [name, str(field.annotation), field.json_schema_extra["desc"]] for name, field in signature.fields.items()
    ]
    return hashlib.sha256(jsontext.encode(fields)).hexdigest()[:16]


class Shelf:
    """Where runs get their programs from. `basis` are the packaged ones."""

    def __init__(self, folder: Path, roster: Roster, basis: Programs) -> None:
        self.folder = folder
        self._roster = roster
        self._basis = basis
        self._current = basis
        self._pointer: object = None  # as of when `_current` was chosen
        self._pinned: Programs | None = None
        self._kept: OrderedDict[str, Programs] = OrderedDict()
        self._choosing = anyio.Lock()

    @property
    def current(self) -> Programs:
        """The programs of the newest run; see `in_force`."""
        return self._current

    async def pin(self, version: str) -> None:
        """From now on that version, whatever is in force. NotFound, Unreadable, Misfit."""
        self._current = self._pinned = await self._get(version)

    async def in_force(self) -> Programs:
        """The programs for a run that begins now. The first one after a swap waits until they are ready: seconds, when
        a classifier has to be trained."""
        if self._pinned or saved.pointer_state(self.folder) == self._pointer:
            return self._current
        async with self._choosing:
            pointer = saved.pointer_state(self.folder)
            if pointer != self._pointer:
                self._pointer = pointer
                await self._choose()
        return self._current

    async def of(self, version: str) -> Programs | None:
        """One version, for a run that began with it; None when it cannot be had any more."""
        try:
            return await self._get(version)
        except FleetError as error:
            logger.warning("program %s cannot be used: %s", version, error)
            return None

    async def checked(self, version: str) -> None:
        """Raises NotFound, Unreadable or Misfit for a version that cannot be used here."""
        await self._get(version)

    async def _choose(self) -> None:
        try:
            self._current = await self._get(await anyio.to_thread.run_sync(saved.in_force, self.folder))
        except FleetError as error:
            logger.error("program %s stays in force: %s", self._current.version, error)
        else:
            logger.info("program %s is in force", self._current.version)

    async def _get(self, version: str) -> Programs:
        if version == PACKAGED:
            return self._basis
        if version not in self._kept:
            self._kept[version] = await anyio.to_thread.run_sync(self._load, version)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(version)
        return self._kept[version]

    def _load(self, version: str) -> Programs:
        return build(self._roster, self._basis, saved.read(self.folder, version))


def _with(program: Any, prompt: SavedPrompt | None, version: str) -> Any:
    """A copy of the program with that prompt; without one, the program itself."""
    if prompt is None:
        return program
    if prompt.signature != signature_hash(program.signature):
        raise Misfit(f"Program {version} was made for another team or another version of this service.")
    other = program.deepcopy()
    other.signature = other.signature.with_instructions(prompt.instructions)
    inputs = list(other.signature.input_fields)
    other.demos = [dspy.Example(**demo).with_inputs(*inputs) for demo in prompt.demos]
    return other

"""Decision programs on disk: one JSON file for each, with where it came from, and a pointer to the one in force.

A file is written whole under another name and then renamed, so a reader finds the old one or the new one and nothing
between; several processes may read and write. Nothing here is ever executed: a program is its instructions, its
demonstrations, and the tasks that the classifier learned from.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from agentic_fleet import jsontext
from agentic_fleet.conversations import new_id
from agentic_fleet.errors import Conflict, FleetError, NotFound
from agentic_fleet.workflows.classifier import Knobs
from agentic_fleet.workflows.tasks import Task

PACKAGED = "packaged"
"""The version that needs no file."""
MAX_BYTES = 16 * 1024 * 1024
"""Of one file that is read; an optimised program has some ten thousand."""
_POINTER = "in-force.json"
_PROGRAMS = "programs"

T = TypeVar("T", bound=msgspec.Struct)

Id = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]


class SavedPrompt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an optimiser changes of a DSPy program. `signature` tells whether the program asks for the same as then."""

    signature: str
    instructions: str
    demos: tuple[dict[str, Any], ...] = ()


class SavedClassifier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the classifier is trained with, besides the packaged tasks."""

    knobs: Knobs
    learned: tuple[Task, ...] = ()


class Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of all decision programs. A part that is None is the packaged one."""

    id: Id
    parent: str  # the version that it was measured against and started from
    created_at: int  # milliseconds since 1970
    optimizer: str
    seed: int
    model: str  # what planned and assessed, or was taught
    examples: int  # that it was made from
    data: str  # SHA-256 of them, in their order
    owner: str | None = None  # the caller whose tasks are in it; None: the operator, for everybody
    before: Mapping[str, Any]  # figures of `parent` on the held-out examples
    after: Mapping[str, Any]
    planner: SavedPrompt | None = None
    assessor: SavedPrompt | None = None
    classifier: SavedClassifier | None = None


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Id


class Unreadable(Conflict):
    """A file that is damaged, or of another version of this code."""


def keep(folder: Path, saved: Saved) -> None:
    """Durable when it returns."""
    write_whole(_path(folder, saved.id), jsontext.encode(saved))


def read(folder: Path, version: str) -> Saved:
    """NotFound; Unreadable."""
    return _read(_path(folder, version), Saved, f"The program {version}")


def listing(folder: Path) -> list[Saved]:
    """All that can be read, the newest first."""
    found = []
    for path in (folder / _PROGRAMS).glob("*.json"):
        try:
            found.append(read(folder, path.stem))
        except (NotFound, Unreadable):
            continue
    return sorted(found, key=lambda saved: saved.created_at, reverse=True)


def in_force(folder: Path) -> str:
    """The version that the next run shall use. Unreadable."""
    try:
        return _read(folder / _POINTER, Pointer, "The pointer to the program in force").version
    except NotFound:
        return PACKAGED


def put_in_force(folder: Path, version: str) -> None:
    """From the next run on, in every process that works in this folder. NotFound and Unreadable for what cannot be."""
    if version != PACKAGED:
        read(folder, version)
    write_whole(folder / _POINTER, jsontext.encode(Pointer(version=version)))


def pointer_state(folder: Path) -> object:
    """Changes whenever `put_in_force` is called. Cheap."""
    try:
        told = os.stat(folder / _POINTER)
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ino, told.st_size


def size(folder: Path) -> int:
    """Bytes of all programs."""
    return sum(path.stat().st_size for path in (folder / _PROGRAMS).glob("*.json"))


def clear(folder: Path) -> None:
    """Back to the packaged programs, and no other is left."""
    put_in_force(folder, PACKAGED)
    for path in (folder / _PROGRAMS).glob("*.json"):
        path.unlink(missing_ok=True)


def _path(folder: Path, version: str) -> Path:
    try:
        return folder / _PROGRAMS / f"{msgspec.convert(version, Id)}.json"
    except msgspec.ValidationError:
        raise NotFound("There is no such program.") from None


def _read(path: Path, shape: type[T], noun: str) -> T:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable(f"{noun} is larger than {MAX_BYTES} bytes.")
        return jsontext.decode(path.read_bytes(), shape)
    except FileNotFoundError:
        raise NotFound(f"{noun} does not exist.") from None
    except (OSError, FleetError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"{noun} cannot be read.") from None


def write_whole(path: Path, body: bytes) -> None:
    """Durable when it returns; no reader ever finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{new_id()}")
    try:
        with draft.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

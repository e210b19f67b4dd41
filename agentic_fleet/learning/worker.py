"""The process that carries out one optimisation: `python -m agentic_fleet.learning.worker`.

It takes the order as one line of JSON on stdin, tells its progress and its outcome as lines of JSON on stdout, and
ends; it also ends as soon as its stdin does, so that it never outlives whoever started it. A process of its own,
because optimisers block, use threads and take memory that the service is to get back.
"""

import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import BinaryIO

import anyio

from agentic_fleet import jsontext
from agentic_fleet.errors import Conflict, FleetError, StoreFailed, innermost
from agentic_fleet.learning import EXAMPLES
from agentic_fleet.learning.curriculum import gather
from agentic_fleet.learning.examples import Example, read_examples
from agentic_fleet.learning.optimize import Optimisation
from agentic_fleet.learning.orders import Order, Outcome, Said, Work
from agentic_fleet.learning.steps import Tell
from agentic_fleet.settings import Settings
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.fleet import PROGRAMS, plans_by_model
from agentic_fleet.workflows.lm import configure_dspy
from agentic_fleet.workflows.models import open_model, small_model
from agentic_fleet.workflows.saved import in_force
from agentic_fleet.workflows.shelf import packaged, trained

try:
    import fcntl
except ImportError:  # Windows: no lock, one optimisation at a time is the user's care there
    fcntl = None  # type: ignore[assignment]  # the module does not exist on this platform


async def carry_out(work: Work, settings: Settings, tell: Tell) -> Outcome:
    """Raises FleetError: Conflict when another optimisation is at work in this folder."""
    folder = settings.home / PROGRAMS
    roster, order = load_roster(settings.roster), work.order
    tell("Gathering examples", 0, 0)
    with alone(settings):
        version = in_force(folder)
        async with _model(settings, order) as completions:
            examples = await anyio.to_thread.run_sync(_examples, settings, order)
            curriculum = gather(
                roster,
                examples,
                min_quality=order.min_quality,
                limit=order.limit,
                more=work.more,
                seed=order.seed,
            )
            untrained = completions is not None or order.only_count
            basis = packaged(roster, None if untrained else await anyio.to_thread.run_sync(trained, roster))
            return await Optimisation(
                order,
                roster=roster,
                folder=folder,
                version=version,
                basis=basis,
                completions=completions,
                curriculum=curriculum,
                tell=tell,
            ).run()


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the folder's lock for optimisations. Conflict when another process has it."""
    path = settings.home / PROGRAMS / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Conflict("Another optimisation is at work in this folder.") from None
        yield


@asynccontextmanager
async def _model(settings: Settings, order: Order) -> AsyncIterator[Completions | None]:
    """The model, when it decides; weights are not loaded for nothing."""
    if order.only_count or not plans_by_model(settings, small=small_model(settings)):
        yield None
        return
    async with open_model(settings) as model:
        yield model.completions


def _examples(settings: Settings, order: Order) -> list[Example]:
    try:
        found = read_examples(settings.home / EXAMPLES) if order.history else []
    except OSError as error:
        raise StoreFailed(f"The examples could not be read: {error.strerror}.") from None
    return [example for example in found if order.caller in (None, example.caller)]


async def _main(out: BinaryIO) -> None:
    speaking = threading.Lock()

    def say(said: Said) -> None:
        with speaking:
            out.write(jsontext.encode(said) + b"\n")
            out.flush()

    try:
        work = jsontext.decode(await anyio.to_thread.run_sync(sys.stdin.buffer.readline), Work)
        threading.Thread(target=_leave_with_parent, daemon=True).start()
        settings = Settings.from_env()
        with anyio.fail_after(settings.optimize_timeout):
            outcome = await carry_out(
                work, settings, lambda saying, done, of: say(Said(saying=saying, done=done, of=of))
            )
        say(Said(outcome=outcome))
    except TimeoutError:
        say(Said(failed=f"It took longer than FLEET_OPTIMIZE_TIMEOUT allows ({settings.optimize_timeout:g} s)."))
    except Exception as error:  # the boundary of this process: whoever started it reads why it ended
        cause = innermost(error)
        known = isinstance(cause, FleetError)
        say(Said(failed=str(cause) if known else f"It failed unexpectedly ({type(cause).__name__})."))
        if not known:
            raise


def _leave_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # what libraries print must not come between our lines
        configure_dspy()
        anyio.run(_main, out)
        out.flush()
    os._exit(0)  # threads of optimisers may still wait for nothing


if __name__ == "__main__":
    main()

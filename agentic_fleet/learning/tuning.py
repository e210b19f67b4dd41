"""What the service needs of optimisation: jobs, the programs as they are, and small questions about texts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agentic_fleet.learning import EXAMPLES
from agentic_fleet.learning.introspection import Introspection
from agentic_fleet.learning.jobs import Jobs
from agentic_fleet.learning.material import Material
from agentic_fleet.settings import Settings
from agentic_fleet.tracing import Tracing
from agentic_fleet.workflows.fleet import Fleet, plans_by_model
from agentic_fleet.workflows.language import Language
from agentic_fleet.workflows.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    jobs: Jobs
    programs: Introspection
    language: Language
    material: Material


@asynccontextmanager
async def open_tuning(settings: Settings, fleet: Fleet, model: Model, tracing: Tracing) -> AsyncIterator[Tuning]:
    """Leaving the block ends a job at work."""
    by_model = plans_by_model(settings, small=model.small)
    programs = Introspection(
        shelf=fleet.shelf,
        decisions=fleet.decisions,
        by_model=by_model,
        provider=model.provider,
        model=model.name,
    )
    language = Language(None if model.small else model.lm, timeout=fleet.roster.bounds.decision_timeout)
    material = Material(path=settings.home / EXAMPLES, roster=fleet.roster)
    async with Jobs.open(settings, fleet.shelf, tracing) as jobs:
        yield Tuning(jobs=jobs, programs=programs, language=language, material=material)

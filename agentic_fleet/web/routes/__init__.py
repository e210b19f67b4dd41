"""The whole HTTP surface, as one list of what each path and method takes and answers."""

from starlette.routing import BaseRoute

from agentic_fleet.web.routes import door, original, runs, site, tuning

ROUTES: list[BaseRoute] = [*site.ROUTES, *runs.ROUTES, *original.ROUTES, *tuning.ROUTES, *door.ROUTES]

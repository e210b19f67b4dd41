"""Routes: the page, the state of the service, who is calling, who is in the team."""

from typing import Any

from starlette.routing import BaseRoute

from agentic_fleet.web import callers, health, openapi, page, rest, views
from agentic_fleet.web.operation import Operation, Resource

ROUTES: list[BaseRoute] = [
    Resource(
        "/",
        GET=Operation(
            handler=page.show_page,
            summary="The console page; with `Accept: application/json` where to begin",
            query=(),
            answers={200: views.IndexView},
            media=("text/html",),
        ),
    ),
    Resource(
        "/console/{version}/{name}",
        GET=Operation(handler=page.show_file, summary="A file of the page", query=(), media=tuple(page.TYPES.values())),
    ),
    Resource(
        "/health",
        GET=Operation(
            handler=health.health,
            summary="What works, in words; 503 when something does not",
            query=(),
            answers={200: views.HealthView, 503: views.HealthView},
        ),
    ),
    Resource(
        "/ready",
        GET=Operation(
            handler=health.ready,
            summary="Whether new runs are taken; 503 while starting or draining",
            query=(),
            answers={200: views.ReadyView},
        ),
    ),
    Resource(
        "/metrics",
        GET=Operation(
            handler=rest.show_metrics,
            summary="Prometheus metrics",
            media=("text/plain",),
        ),
    ),
    Resource(
        "/openapi.json",
        GET=Operation(handler=openapi.show, summary="This description", answers={200: dict[str, Any]}),
    ),
    Resource(
        "/api/v1/sign-in",
        POST=Operation(
            handler=callers.sign_in,
            summary="A session cookie for a page, by a key",
            body=callers.SignInBody,
            answers={200: views.CallerView},
        ),
    ),
    Resource(
        "/api/v1/sign-out",
        POST=Operation(handler=callers.sign_out, summary="Forget the session cookie", answers={204: None}),
    ),
    Resource(
        "/api/v1/caller",
        GET=Operation(handler=callers.show_caller, summary="Whose key this is", answers={200: views.CallerView}),
    ),
    Resource(
        "/api/v1/agents",
        GET=Operation(handler=rest.list_agents, summary="The team", answers={200: list[views.AgentView]}),
    ),
]

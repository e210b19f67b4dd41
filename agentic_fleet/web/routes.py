"""The whole HTTP surface as one list."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp

from agentic_fleet.web import callers, rest, socket, sse

Handler = Callable[[Request], Awaitable[ASGIApp]]


def _resource(path: str, **handlers: Handler) -> Route:
    """One route for all methods of a path, so that a 405 names them all."""

    async def endpoint(request: Request) -> ASGIApp:
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return Route(path, endpoint, methods=list(handlers))


ROUTES: list[BaseRoute] = [
    _resource("/", GET=rest.index),
    _resource("/health", GET=rest.health),
    _resource("/ready", GET=rest.ready),
    _resource("/api/v1/sign-in", POST=callers.sign_in),
    _resource("/api/v1/sign-out", POST=callers.sign_out),
    _resource("/api/v1/caller", GET=callers.show_caller),
    _resource("/api/v1/conversations", GET=rest.list_conversations, POST=rest.add_conversation),
    _resource("/api/v1/conversations/{conversation_id}", GET=rest.show_conversation, DELETE=rest.drop_conversation),
    _resource("/api/v1/conversations/{conversation_id}/runs", POST=rest.start_run),
    _resource("/api/v1/runs", GET=rest.list_runs),
    _resource("/api/v1/runs/{run_id}", GET=rest.show_run),
    _resource("/api/v1/runs/{run_id}/events", GET=rest.run_events),
    _resource("/api/v1/runs/{run_id}/cancel", POST=rest.cancel_run),
    _resource("/api/v1/runs/{run_id}/responses", POST=rest.answer_run),
    _resource("/api/v1/runs/{run_id}/checkpoints", GET=rest.list_checkpoints),
    _resource("/api/v1/runs/{run_id}/resume", POST=rest.resume_run),
    _resource("/api/v1/agents", GET=rest.list_agents),
    _resource("/api/chat/{conversation_id}/stream", GET=sse.chat_stream),
    _resource("/api/chat/{conversation_id}/cancel", POST=rest.cancel_chat),
    _resource("/api/chat/{conversation_id}/respond", POST=rest.answer_chat),
    _resource("/api/ws/chat", GET=rest.socket_only),
    WebSocketRoute("/api/ws/chat", socket.chat),
]

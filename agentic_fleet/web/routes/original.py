"""Routes: the words of the original AgenticFleet, over the same runs."""

from starlette.routing import BaseRoute, WebSocketRoute

from agentic_fleet.web import execution, rest, sessions, socket, sse, views, wire
from agentic_fleet.web.operation import Operation, Resource

ROUTES: list[BaseRoute] = [
    Resource(
        "/api/v1/run",
        POST=Operation(
            handler=execution.execute,
            summary="Ask and wait: the answer comes when the run has ended or waits for a human; leaving cancels it",
            body=execution.RunBody,
            answers={200: execution.OutcomeView},
        ),
    ),
    Resource(
        "/api/v1/sessions",
        GET=Operation(
            handler=sessions.list_sessions,
            summary="The caller's runs in the original's words, newest first",
            query=(wire.PageQuery,),
            answers={200: list[sessions.SessionView]},
        ),
    ),
    Resource(
        "/api/v1/sessions/{workflow_id}",
        GET=Operation(
            handler=sessions.show_session,
            summary="A run in the original's words",
            answers={200: sessions.SessionView},
        ),
        DELETE=Operation(handler=sessions.cancel_session, summary="End a run; may be repeated", answers={204: None}),
    ),
    Resource(
        "/api/chat/{conversation_id}/stream",
        GET=Operation(
            handler=sse.chat_stream,
            summary="Ask and watch in one request, for EventSource; asked again, it watches the same run",
            query=(wire.ChatQuery, wire.AskWords),
            headers=("Last-Event-ID",),
            answers={204: None},
            stream=True,
        ),
    ),
    Resource(
        "/api/chat/{conversation_id}/cancel",
        POST=Operation(
            handler=rest.cancel_chat,
            summary="End a run; the status is what it came to",
            query=(wire.RunQuery,),
            answers={200: views.CancelledView},
        ),
    ),
    Resource(
        "/api/chat/{conversation_id}/respond",
        POST=Operation(
            handler=rest.answer_chat,
            summary="Answer what a run has asked a human, once",
            query=(wire.RunQuery,),
            body=wire.AnswerWords,
            answers={200: views.AnsweredView},
        ),
    ),
    Resource(
        "/api/ws/chat",
        GET=Operation(
            handler=rest.socket_only,
            summary="A WebSocket: frames of `task`, `watch`, `response`, `cancel`, `workflow.resume`, `ping`",
            query=(),
        ),
    ),
    WebSocketRoute("/api/ws/chat", socket.chat),
]

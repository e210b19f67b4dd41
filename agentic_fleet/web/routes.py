"""The whole HTTP surface as one list."""

from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute

from agentic_fleet.web import callers, execution, history, openapi, page, rest, sessions, socket, sse, views, wire
from agentic_fleet.web.door import chat, models, responses, shapes
from agentic_fleet.web.door.chat_words import ChatBody
from agentic_fleet.web.door.responses_words import ResponsesBody
from agentic_fleet.web.operation import Operation, Resource

ROUTES: list[BaseRoute] = [
    *page.RESOURCES,
    Resource(
        "/health",
        GET=Operation(
            handler=rest.health,
            summary="What works, in words; 503 when something does not",
            query=(),
            answers={200: views.HealthView, 503: views.HealthView},
        ),
    ),
    Resource(
        "/ready",
        GET=Operation(
            handler=rest.ready,
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
        "/api/v1/conversations",
        GET=Operation(
            handler=rest.list_conversations,
            summary="The caller's conversations without their messages, the last used first",
            query=(wire.PageQuery,),
            answers={200: list[views.ConversationView]},
        ),
        POST=Operation(
            handler=rest.add_conversation,
            summary="A new conversation",
            body=wire.ConversationBody,
            answers={201: views.ConversationView},
        ),
    ),
    Resource(
        "/api/v1/conversations/{conversation_id}",
        GET=Operation(
            handler=rest.show_conversation,
            summary="A conversation with its messages",
            answers={200: views.ConversationView},
        ),
        PATCH=Operation(
            handler=rest.rename_conversation,
            summary="Give a conversation another title",
            body=wire.RenameBody,
            answers={200: views.ConversationView},
        ),
        DELETE=Operation(
            handler=rest.drop_conversation,
            summary="Forget a conversation with all its runs; its live run is cancelled",
            answers={204: None},
        ),
    ),
    Resource(
        "/api/v1/conversations/{conversation_id}/runs",
        POST=Operation(
            handler=rest.start_run,
            summary="Ask the team; with `Accept: text/event-stream` the answer is the run's stream",
            query=(wire.StartQuery,),
            headers=("Idempotency-Key",),
            body=wire.AskBody,
            answers={202: views.RunView},
            stream=True,
        ),
    ),
    Resource(
        "/api/v1/runs",
        GET=Operation(
            handler=rest.list_runs,
            summary="The caller's runs, newest first",
            query=(wire.RunsQuery,),
            answers={200: list[views.RunView]},
        ),
    ),
    Resource(
        "/api/v1/runs/{run_id}",
        GET=Operation(handler=rest.show_run, summary="A run and its state", answers={200: views.RunView}),
    ),
    Resource(
        "/api/v1/runs/{run_id}/events",
        GET=Operation(
            handler=rest.run_events,
            summary="A run's events from any cursor: a stream, or with `Accept: application/json` a page",
            query=(wire.EventsQuery,),
            headers=("Last-Event-ID",),
            answers={200: views.PageView, 204: None},
            stream=True,
        ),
    ),
    Resource(
        "/api/v1/runs/{run_id}/cancel",
        POST=Operation(handler=rest.cancel_run, summary="End a run; may be repeated", answers={200: views.RunView}),
    ),
    Resource(
        "/api/v1/runs/{run_id}/responses",
        POST=Operation(
            handler=rest.answer_run,
            summary="Answer what a run has asked a human, once",
            body=wire.AnswerBody,
            answers={200: views.RunView},
        ),
    ),
    Resource(
        "/api/v1/runs/{run_id}/checkpoints",
        GET=Operation(
            handler=rest.list_checkpoints,
            summary="Where a run can go on from, oldest first",
            answers={200: list[views.CheckpointView]},
        ),
    ),
    Resource(
        "/api/v1/runs/{run_id}/resume",
        POST=Operation(
            handler=rest.resume_run,
            summary="Go on with a run that ended without an answer, in the same log",
            query=(wire.StartQuery,),
            body=wire.ResumeBody,
            answers={202: views.RunView},
            stream=True,
        ),
    ),
    Resource(
        "/api/v1/runs/{run_id}/feedback",
        POST=Operation(
            handler=history.give_feedback,
            summary="Say how good a run's answer is; the last word counts",
            body=wire.FeedbackBody,
            answers={200: history.FeedbackView},
        ),
    ),
    Resource(
        "/api/v1/history",
        GET=Operation(
            handler=history.list_executions,
            summary="What the caller's runs did, newest first",
            query=(wire.PageQuery,),
            answers={200: list[history.ExecutionView]},
        ),
        DELETE=Operation(
            handler=history.drop_executions,
            summary="Forget what all of the caller's runs did; the runs stay",
            answers={204: None},
        ),
    ),
    Resource(
        "/api/v1/history/{workflow_id}",
        GET=Operation(
            handler=history.show_execution,
            summary="What a run did",
            answers={200: history.ExecutionView},
        ),
        DELETE=Operation(
            handler=history.drop_execution,
            summary="Forget what a run did; the run stays",
            answers={204: None},
        ),
    ),
    Resource(
        "/api/v1/agents",
        GET=Operation(handler=rest.list_agents, summary="The team", answers={200: list[views.AgentView]}),
    ),
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
        "/v1/models",
        GET=Operation(
            handler=models.list_models,
            summary="The fleet and its modes, as models",
            query=(),
            answers={200: shapes.ModelsView},
            openai=True,
        ),
    ),
    Resource(
        "/v1/models/{model}",
        GET=Operation(
            handler=models.show_model,
            summary="The fleet as a model",
            query=(),
            answers={200: shapes.ModelView},
            openai=True,
        ),
    ),
    Resource(
        "/v1/models/{model}/{mode}",
        GET=Operation(
            handler=models.show_mode,
            summary="A mode of the fleet as a model",
            query=(),
            answers={200: shapes.ModelView},
            openai=True,
        ),
    ),
    Resource(
        "/v1/chat/completions",
        POST=Operation(
            handler=chat.complete_chat,
            summary="Ask the team as one asks OpenAI's chat completions; a client that leaves cancels its run",
            query=(),
            body=ChatBody,
            answers={200: shapes.CompletionView},
            stream=True,
            openai=True,
        ),
    ),
    Resource(
        "/v1/responses",
        POST=Operation(
            handler=responses.create_response,
            summary="The same as OpenAI's responses",
            query=(),
            body=ResponsesBody,
            answers={200: shapes.ResponseView},
            stream=True,
            openai=True,
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

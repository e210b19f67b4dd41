"""Routes: conversations, runs and their history; the service's own API."""

from starlette.routing import BaseRoute

from agentic_fleet.web import history, rest, views, wire
from agentic_fleet.web.operation import Operation, Resource

ROUTES: list[BaseRoute] = [
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
]

"""Routes: the OpenAI-compatible door."""

from starlette.routing import BaseRoute

from agentic_fleet.web.door import chat, models, responses, shapes
from agentic_fleet.web.door.chat_words import ChatBody
from agentic_fleet.web.door.responses_words import ResponsesBody
from agentic_fleet.web.operation import Operation, Resource

ROUTES: list[BaseRoute] = [
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
]

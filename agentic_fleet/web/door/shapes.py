"""What the door answers, as JSON: the parts of OpenAI's objects that it has something to say in."""

from typing import Any, Literal, NotRequired, TypedDict


class ErrorObject(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorView(TypedDict):
    error: ErrorObject


class ModelView(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelsView(TypedDict):
    object: Literal["list"]
    data: list[ModelView]


class CachedView(TypedDict):
    cached_tokens: int


class ReasonedView(TypedDict):
    reasoning_tokens: int


class UsageView(TypedDict):
    """Of all the model calls of the run together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedView
    completion_tokens_details: ReasonedView


class AnswerView(TypedDict):
    role: Literal["assistant"]
    content: str
    refusal: None


class ChoiceView(TypedDict):
    index: int
    message: AnswerView
    logprobs: None
    finish_reason: Literal["stop"]


class CompletionView(TypedDict):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChoiceView]
    usage: NotRequired[UsageView]


class TextView(TypedDict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class ItemView(TypedDict):
    id: str
    type: Literal["message"]
    status: Literal["in_progress", "completed"]
    role: Literal["assistant"]
    content: list[TextView]


class ResponseView(TypedDict):
    """The fields that are always the same are left out here."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "failed"]
    model: str
    instructions: str | None
    metadata: dict[str, Any]
    previous_response_id: str | None
    output: list[ItemView]
    store: Literal[True]
    usage: dict[str, Any] | None

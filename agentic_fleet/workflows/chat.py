"""Agent Framework's chat client over our one seam to a model: its messages and options in, its updates out.

The framework's own OpenAI client costs ten times as much per token, and would be a second way to a model beside
DSPy's, with its own limits and its own way to cancel.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Literal
from uuid import uuid4

from agent_framework import (
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatOptions,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    FunctionTool,
    Message,
    ResponseStream,
    UsageDetails,
)
from agent_framework.observability import ChatTelemetryLayer
from pydantic import BaseModel

from agentic_fleet import jsontext
from agentic_fleet.errors import Invalid
from agentic_fleet.workflows.completions import Chunk, Completions
from agentic_fleet.workflows.desk import ears

TOOL_ROUNDS = 10
"""Model calls of one agent's part, each answered by tools; the last one must do without. A model that calls tools in
circles is stopped there."""

_Kind = Literal["text_reasoning", "text"]
_NO_WORDS = ("", "")
_PASSED_ON = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
)
_NOT_SENT = frozenset({"text_reasoning", "usage", "error", "function_approval_request", "function_approval_response"})


class _SeamClient(BaseChatClient[ChatOptions]):
    OTEL_PROVIDER_NAME: ClassVar[str] = "agentic_fleet"

    def __init__(self, *, completions: Completions, **layers: Any) -> None:
        super().__init__(**layers)
        self.completions = completions
        self.model = completions.name  # read by the telemetry layer

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **kwargs: Any
    ) -> Awaitable[ChatResponse] | ResponseStream[ChatResponseUpdate, ChatResponse]:
        updates = self._build_response_stream(
            _updates(self.completions, request_body(messages, options)), response_format=options.get("response_format")
        )
        return updates if stream else updates.get_final_response()


class CompletionsChatClient(FunctionInvocationLayer, ChatMiddlewareLayer, ChatTelemetryLayer, _SeamClient):
    """Stateless between answers: one may serve all agents and all runs at once.

    Raises what the completions raise (ModelFailed), unwrapped; Invalid for contents that are not text.
    """

    def __init__(self, completions: Completions) -> None:
        super().__init__(completions=completions, function_invocation_configuration={"max_iterations": TOOL_ROUNDS})


async def _updates(completions: Completions, body: dict[str, Any]) -> AsyncGenerator[ChatResponseUpdate, None]:
    """The answer. When the part at hand hears it word by word, words alone wait here for what follows them, because
    the framework's work on each update is not small."""
    answer, hear = _Answer(completions.name), ears()
    async with aclosing(completions.stream(body)) as chunks:
        async for chunk in chunks:
            words = answer.read(chunk)
            goes_on = hear is not None and words != _NO_WORDS and await hear(*words)
            if not (goes_on and answer.is_mere_words) and (update := answer.update()):
                yield update
    if update := answer.update():
        yield update


class _Answer:
    """One answer being read: what has not been passed on yet, and what later chunks leave out because an earlier one
    has said it."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = ""
        self._calls: dict[int, str] = {}  # a tool call's index -> its id
        self._words: list[tuple[_Kind, list[str]]] = []
        self._others: list[Content] = []
        self._finish: Any = None

    def read(self, chunk: Chunk) -> tuple[str, str]:
        """What is thought and said in it."""
        self._id = self._id or chunk.get("id") or uuid4().hex
        thought = text = ""
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            if delta := choice.get("delta"):
                thought += self._add("text_reasoning", delta.get("reasoning_content") or delta.get("reasoning"))
                text += self._add("text", delta.get("content") or delta.get("refusal"))
                self._others.extend(self._tool_calls(delta))
        if usage := chunk.get("usage"):
            # replaces: some servers repeat the sum so far with every chunk
            self._others.append(Content.from_usage(_usage(usage), merge_mode="replace"))
        return thought, text

    @property
    def is_mere_words(self) -> bool:
        return not self._others and not self._finish

    def update(self) -> ChatResponseUpdate | None:
        """What has been read since the last one; None when there was nothing in it."""
        contents = [Content(kind, text="".join(pieces)) for kind, pieces in self._words] + self._others
        finish = self._finish
        self._words, self._others, self._finish = [], [], None
        if not contents and not finish:
            return None
        return ChatResponseUpdate(
            contents=contents,
            role="assistant",
            response_id=self._id,
            message_id=self._id,
            model=self._model,
            finish_reason=finish,
        )

    def _add(self, kind: _Kind, text: str | None) -> str:
        if not text:
            return ""
        if not self._words or self._words[-1][0] != kind:
            self._words.append((kind, []))
        self._words[-1][1].append(text)
        return text

    def _tool_calls(self, delta: Mapping[str, Any]) -> Iterator[Content]:
        for fragment in delta.get("tool_calls") or ():
            function = fragment.get("function") or {}
            yield Content.from_function_call(
                self._call_id(fragment), function.get("name") or "", arguments=function.get("arguments") or ""
            )

    def _call_id(self, fragment: Mapping[str, Any]) -> str:
        """Only a call's first fragment carries its id; some servers send no index, others no id."""
        index, id = fragment.get("index") or 0, fragment.get("id")
        if index not in self._calls or (id and id != self._calls[index]):
            self._calls[index] = id or f"call_{self._id}_{index}"  # the same when the answer comes from the journal
        return self._calls[index]


def request_body(messages: Sequence[Message], options: Mapping[str, Any]) -> dict[str, Any]:
    """The body for `Completions.stream`. Which model answers is not the options' business."""
    sent = [wire for message in messages for wire in _wire(message)]
    if instructions := options.get("instructions"):
        sent.insert(0, {"role": "system", "content": instructions})
    body: dict[str, Any] = {"messages": sent}
    body.update({key: options[key] for key in _PASSED_ON if options.get(key) is not None})
    if tools := options.get("tools"):
        body["tools"] = [_tool(tool) for tool in tools]
        if choice := options.get("tool_choice"):
            body["tool_choice"] = _tool_choice(choice)
        if (several := options.get("allow_multiple_tool_calls")) is not None:
            body["parallel_tool_calls"] = several
    if wanted := options.get("response_format"):
        body["response_format"] = _response_format(wanted)
    return body


def _wire(message: Message) -> Iterator[dict[str, Any]]:
    """One framework message as OpenAI's: each tool result is a message of its own there."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for content in message.contents:
        match content.type:
            case "text":
                texts.append(content.text or "")
            case "function_call":
                calls.append(_call(content))
            case "function_result":
                result = "" if content.result is None else str(content.result)
                results.append({"role": "tool", "tool_call_id": content.call_id, "content": result})
            case kind if kind not in _NOT_SENT:
                raise Invalid(f"The model takes text only, not content of type {kind}.")
    text = "\n".join(texts)
    if calls:
        yield {"role": message.role, "content": text or None, "tool_calls": calls}
    elif texts:
        yield {"role": message.role, "content": text}
    yield from results


def _call(content: Content) -> dict[str, Any]:
    arguments = content.arguments
    if not isinstance(arguments, str):
        arguments = jsontext.encode(arguments or {}).decode()
    return {
        "id": content.call_id,
        "type": "function",
        "function": {"name": content.name, "arguments": arguments},
    }


def _tool(tool: Any) -> Mapping[str, Any]:
    if isinstance(tool, FunctionTool):
        return tool.to_json_schema_spec()
    if isinstance(tool, Mapping) and tool.get("type") == "function":
        return tool
    raise Invalid("The model takes functions as tools, and nothing else.")


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    if name := choice.get("required_function_name"):
        return {"type": "function", "function": {"name": name}}
    return choice["mode"]


def _response_format(wanted: type[BaseModel] | Mapping[str, Any]) -> Mapping[str, Any]:
    """OpenAI's form of it: as given, or around a pydantic model or a bare JSON schema."""
    if isinstance(wanted, type):
        return _schema_format(wanted.__name__, wanted.model_json_schema())
    if wanted.get("type") in ("json_schema", "json_object", "text"):
        return wanted
    return _schema_format("answer", wanted)


def _schema_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def _usage(usage: Mapping[str, Any]) -> UsageDetails:
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    counts = UsageDetails(
        input_token_count=usage.get("prompt_tokens"),
        output_token_count=usage.get("completion_tokens"),
        total_token_count=usage.get("total_tokens"),
    )
    if thought is not None:
        counts["reasoning_output_token_count"] = thought
    if cached is not None:
        counts["cache_read_input_token_count"] = cached
    return counts

"""What clients send to `/v1/chat/completions`."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from agentic_fleet.web.door.refusals import unsupported
from agentic_fleet.web.door.words import Content, Question, Role, Said, question, refuse_format, refuse_tools, text_of


class ChatMessage(Struct):
    role: Role
    content: Content = None


class StreamOptions(Struct):
    include_usage: bool | None = None


class ChatBody(Struct, kw_only=True):
    """The fields that the door reads; all others pass unread. Most may be null, which is the same as absent."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    reasoning_effort: str | None = None
    n: int | None = None
    tools: Any = None
    functions: Any = None
    response_format: Any = None
    modalities: Any = None
    audio: Any = None
    logprobs: Any = None
    top_logprobs: Any = None

    def question(self) -> Question:
        """Raises Refusal for what the fleet cannot do."""
        self._refuse()
        said = []
        for place, message in enumerate(self.messages):
            where = f"messages[{place}].content"
            said.append(Said(message.role, text_of(message.content, where), where))
        return question(said, "messages")

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def _refuse(self) -> None:
        refuse_tools(tools=self.tools, functions=self.functions)
        refuse_format(self.response_format, "response_format")
        if self.n not in (None, 1):
            raise unsupported("n", "The fleet gives one answer to a question: n must be 1.")
        if self.audio is not None or (isinstance(self.modalities, list) and "audio" in self.modalities):
            raise unsupported("audio" if self.audio is not None else "modalities", "The fleet answers in text only.")
        if self.logprobs or self.top_logprobs:
            raise unsupported("logprobs", "The fleet does not know the probabilities of its words.")

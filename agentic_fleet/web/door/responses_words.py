"""What clients send to `/v1/responses`."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from agentic_fleet.web.door.refusals import Refusal, unsupported
from agentic_fleet.web.door.words import Content, Question, Role, Said, question, refuse_format, refuse_tools, text_of

_OUTPUT = "_output"
"""The ending of item types that give a tool's result: something that only the client's own tools can have said."""


class InputItem(Struct):
    """A message, or something else that an earlier response had among its output."""

    type: str = "message"
    role: Role | None = None
    content: Content = None


class Reasoning(Struct):
    effort: str | None = None


class ResponsesBody(Struct, kw_only=True):
    """The fields that the door reads; all others pass unread. Most may be null, which is the same as absent."""

    model: str
    input: str | list[InputItem]
    instructions: str | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    reasoning: Reasoning | None = None
    tools: Any = None
    text: Any = None
    background: Any = None
    conversation: Any = None
    prompt: Any = None
    metadata: Any = None
    top_logprobs: Any = None

    def question(self) -> Question:
        """Raises Refusal for what the fleet cannot do."""
        self._refuse()
        if isinstance(self.input, str):
            return question([Said("user", self.input, "input")], "input", self.instructions)
        said = [found for place, item in enumerate(self.input) if (found := _said(item, f"input[{place}]"))]
        return question(said, "input", self.instructions)

    def _refuse(self) -> None:
        refuse_tools(tools=self.tools)
        refuse_format(self.text.get("format") if isinstance(self.text, Mapping) else self.text, "text.format")
        if self.background:
            raise unsupported("background", "The door answers while the client waits. Runs go on by /api/v1/runs.")
        if self.conversation:
            raise unsupported("conversation", "Conversations are continued by previous_response_id.")
        if self.prompt:
            raise unsupported("prompt", "The fleet keeps no prompts.")
        if self.top_logprobs:
            raise unsupported("top_logprobs", "The fleet does not know the probabilities of its words.")


def _said(item: InputItem, where: str) -> Said | None:
    """None for what is no part of a conversation: reasoning, calls of tools."""
    if item.type == "item_reference":
        raise Refusal("The fleet keeps no items: send the message itself.", param=where, code="unsupported_value")
    if item.type.endswith(_OUTPUT):
        return Said("tool", "", where)
    if item.type != "message":
        return None
    if item.role is None:
        raise Refusal("A message must say whose it is.", param=f"{where}.role")
    return Said(item.role, text_of(item.content, f"{where}.content"), f"{where}.content")

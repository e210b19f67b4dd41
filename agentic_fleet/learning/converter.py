"""Conversations as examples, and back: Agent Framework's messages, dictionaries, DSPy's histories and examples.

The task is the last message of the user; what is before it is the context, what is after it the reply. Nothing is lost
on the way: what an `Example` has no field for is kept beside the message it belongs to, in `Utterance.more`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import dspy
import msgspec

from agentic_fleet import jsontext
from agentic_fleet.learning.examples import Example, Utterance
from agentic_fleet.workflows.utterances import framed, is_message, plain

INPUTS = ("task", "context")
_USERS = frozenset({"user", "human"})
_TEXT = "context"
"""The role of a context that came as one text."""
_NAMELESS: Mapping[str, Any] = {"line": "example", "workflow_id": "", "at": 0}
"""What an example has that is of no run."""
_FIELDS = frozenset(Example.__struct_fields__) - {"more"}


class BridgeConverter:
    """All of it is pure. A conversation is a sequence of framework messages or dictionaries, or a `dspy.History`."""

    @staticmethod
    def to_example(conversation: Any, **fields: Any) -> Example:
        """`fields` are the example's labels, outcome and provenance. ValueError when nobody asks anything, TypeError
        for a message of another kind."""
        said = [utterance(message) for message in _messages(conversation)]
        place = max((at for at, each in enumerate(said) if each.role in _USERS), default=None)
        if place is None:
            raise ValueError("no message of a user")
        asked = said[place]
        bare = asked == Utterance(role="user", content=asked.content)
        given = {"workflow_id": "", "at": 0, **fields}
        return Example(
            task=asked.content,
            context=tuple(said[:place]),
            asked=None if bare else asked,
            replies=tuple(said[place + 1 :]),
            **given,
        )

    @staticmethod
    def to_dicts(example: Example) -> list[dict[str, Any]]:
        """The conversation as dictionaries: as they were, or with `role`, `content` and `author`."""
        return [_dict(each) for each in _conversation(example)]

    @staticmethod
    def to_messages(example: Example) -> list[Any]:
        """The conversation as the framework's messages."""
        return [_framed(each) for each in _conversation(example)]

    @staticmethod
    def to_history(example: Example) -> Any:
        """The conversation as a `dspy.History`."""
        return dspy.History(messages=BridgeConverter.to_dicts(example))

    @staticmethod
    def to_dspy(example: Example) -> Any:
        """The example as a `dspy.Example` with the same fields, as plain JSON; its inputs are the task and the context,
        which is a list of messages."""
        fields = msgspec.to_builtins(example)
        more = fields.pop("more", {})
        for name, nothing in _NAMELESS.items():
            if fields.get(name) == nothing:
                del fields[name]
        if [each.role for each in example.context] == [_TEXT]:
            fields["context"] = example.context[0].content
        made = dspy.Example(**fields, **more.get("fields", {}))
        return made.with_inputs(*more.get("inputs", INPUTS))

    @staticmethod
    def from_dspy(example: Any) -> Example:
        """The example that `to_dspy` made; or another one with a `task`: fields of other names are kept in `more`, and
        a context that is a text becomes one message. ValidationError for fields of other kinds."""
        given = dict(example.items())
        fields = {**_NAMELESS, **{name: given.pop(name) for name in list(given) if name in _FIELDS}}
        if isinstance(fields.get("context"), str):
            fields["context"] = [{"role": _TEXT, "content": fields["context"]}]
        inputs = sorted(example.inputs().keys()) if example._input_keys is not None else []
        more: dict[str, Any] = {"fields": given} if given else {}
        if inputs != sorted(name for name in INPUTS if name in fields):
            more["inputs"] = inputs
        return msgspec.convert({**fields, **({"more": more} if more else {})}, Example)


def utterance(message: Any) -> Utterance:
    """TypeError for what is neither a framework message nor a dictionary with a role."""
    if is_message(message):
        told = plain(message)
        more = {"framework": told["whole"]} if "whole" in told else {}
        return Utterance(role=told["role"], content=told["text"], author=told["author"], more=more)
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise TypeError("a message has a role and a content")
    content, author = message.get("content"), message.get("author")
    said = Utterance(
        role=message["role"],
        content=content if isinstance(content, str) else _text_of(content),
        author=author if isinstance(author, str) else None,
    )
    whole = dict(message)
    return said if whole == _dict(said) else msgspec.structs.replace(said, more={"dict": whole})


def _messages(conversation: Any) -> Iterable[Any]:
    return list(conversation.messages if isinstance(conversation, dspy.History) else conversation)


def _conversation(example: Example) -> list[Utterance]:
    asked = example.asked or Utterance(role="user", content=example.task)
    return [*example.context, asked, *example.replies]


def _dict(said: Utterance) -> dict[str, Any]:
    if whole := said.more.get("dict"):
        return dict(whole)
    author = {"author": said.author} if said.author is not None else {}
    return {"role": said.role, "content": said.content, **author}


def _framed(said: Utterance) -> Any:
    return framed({"role": said.role, "text": said.content, "author": said.author, "whole": said.more.get("framework")})


def _text_of(content: Any) -> str:
    """The text of a content in parts, as OpenAI's API has it; a content of another kind as JSON."""
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return "\n".join(str(part["text"]) for part in content if "text" in part)
    return jsontext.encode(content).decode()

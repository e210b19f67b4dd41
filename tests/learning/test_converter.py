"""Conversations and examples: there and back, without loss."""

from typing import Any

import dspy
import msgspec
import pytest
from agent_framework import Content, Message
from hypothesis import given
from hypothesis import strategies as st

from agentic_fleet.learning.converter import BridgeConverter
from agentic_fleet.learning.examples import Example, Utterance

texts = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    ["", "a: b\nuser: c", "\u2028", "😀", "null", "user: "]
)
roles = st.sampled_from(["user", "assistant", "system", "tool", "human", "Moderator"])
names = st.none() | st.text("abc-", min_size=1, max_size=8)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
dicts = st.builds(
    lambda role, content, more: {**more, "role": role, **content},
    roles,
    st.fixed_dictionaries({}, optional={"content": texts | st.none() | json, "author": texts, "name": texts}),
    st.dictionaries(texts, json, max_size=2),
)
contents = st.lists(
    st.builds(lambda text: Content("text", text=text), texts)
    | st.builds(lambda text: Content("text_reasoning", text=text), texts)
    | st.builds(lambda id, text: Content.from_function_call(id, "pay", arguments=text), names.filter(bool), texts)
    | st.builds(lambda id, text: Content.from_function_result(id, result=text), names.filter(bool), texts),
    max_size=3,
)
messages = st.builds(lambda role, parts, name: Message(role, parts, author_name=name), roles, contents, names)
said = st.builds(Utterance, role=roles, content=texts, author=names)
examples = st.builds(
    Example,
    workflow_id=texts,
    at=st.integers(0, 2**53),
    task=texts,
    context=st.lists(said, max_size=3).map(tuple),
    asked=st.none(),
    replies=st.lists(said, max_size=2).map(tuple),
    complexity=st.sampled_from([None, "simple", "complex"]),
    mode=st.sampled_from([None, "fast", "parallel", "handoff"]),
    agents=st.lists(texts, max_size=3).map(tuple),
    subtasks=st.dictionaries(texts, texts, max_size=3),
    decided_by=texts,
    status=texts,
    quality_score=st.none() | st.floats(0, 10),
    quality_flag=st.none() | texts,
    corrected=st.booleans(),
    comment=texts,
    caller=texts,
    model=texts,
    program_version=texts,
)


def asks(conversation: list[Any]) -> bool:
    return any((m["role"] if isinstance(m, dict) else m.role) in ("user", "human") for m in conversation)


def kept(example: Example) -> Example:
    """As it comes back from a file."""
    return msgspec.json.decode(msgspec.json.encode(example), type=Example)


@given(st.lists(dicts, min_size=1, max_size=5).filter(asks))
def test_dictionaries_come_back_as_they_were(conversation: list[dict[str, Any]]) -> None:
    example = BridgeConverter.to_example(conversation, workflow_id="w", at=1)
    assert BridgeConverter.to_dicts(kept(example)) == conversation


@given(st.lists(messages, min_size=1, max_size=5).filter(asks))
def test_framework_messages_come_back_as_they_were(conversation: list[Message]) -> None:
    example = BridgeConverter.to_example(conversation)
    back = BridgeConverter.to_messages(kept(example))
    assert [message.to_dict() for message in back] == [message.to_dict() for message in conversation]
    assert example.task == [m for m in conversation if m.role in ("user", "human")][-1].text


@given(st.lists(dicts, min_size=1, max_size=4).filter(asks))
def test_a_dspy_history_comes_back_as_it_was(conversation: list[dict[str, Any]]) -> None:
    history = dspy.History(messages=conversation)
    assert BridgeConverter.to_history(kept(BridgeConverter.to_example(history))) == history


@given(examples)
def test_an_example_is_the_same_after_dspy(example: Example) -> None:
    made = BridgeConverter.to_dspy(example)
    assert set(made.inputs().keys()) == {"task"} | ({"context"} if example.context else set())
    assert BridgeConverter.from_dspy(made) == example


@given(
    st.fixed_dictionaries({"task": texts}, optional={"context": texts, "assigned_to": texts, "at": st.integers(1, 9)}),
    st.sets(st.sampled_from(["task", "context"])),
)
def test_a_dspy_example_of_another_origin_comes_back_as_it_was(fields: dict[str, Any], inputs: set[str]) -> None:
    given_ = dspy.Example(**fields).with_inputs(*(inputs & fields.keys()))
    back = BridgeConverter.to_dspy(kept(BridgeConverter.from_dspy(given_)))
    assert back.toDict() == given_.toDict()
    assert set(back.inputs().keys()) == set(given_.inputs().keys())


def test_the_last_question_is_the_task_and_what_stands_around_it_is_context_and_reply() -> None:
    conversation: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello: you\nthere"},
        {"role": "assistant", "content": "Hi", "author": "writer"},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}, {"type": "image_url", "image_url": "x"}]},
        {"role": "assistant", "content": "Because."},
    ]
    example = BridgeConverter.to_example(conversation, workflow_id="w", at=7, agents=("writer",), mode="fast")
    assert (example.task, example.answer) == ("Why?", "Because.")
    assert [each.content for each in example.context] == ["Be brief.", "Hello: you\nthere", "Hi"]
    assert example.context[2].author == "writer"
    assert (example.workflow_id, example.at, example.agents, example.mode) == ("w", 7, ("writer",), "fast")
    assert [message.role for message in BridgeConverter.to_messages(example)] == [each["role"] for each in conversation]


@pytest.mark.parametrize("conversation", [[], [{"role": "assistant", "content": "x"}]])
def test_a_conversation_in_which_nobody_asks_is_no_example(conversation: list[Any]) -> None:
    with pytest.raises(ValueError, match="no message of a user"):
        BridgeConverter.to_example(conversation)


@pytest.mark.parametrize("message", ["text", 7, {}, {"content": "x"}, {"role": 3}, None])
def test_what_is_no_message_is_refused(message: Any) -> None:
    with pytest.raises(TypeError):
        BridgeConverter.to_example([message])

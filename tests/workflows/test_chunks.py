"""What some servers leave out of an answer's chunks, filled in; what has come at once, joined."""

from collections.abc import Iterator
from typing import Any

import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.chunks import Numbered, joined
from agentic_fleet.workflows.completions import Chunk


def call(arguments: str = "", name: str | None = None, **fields: Any) -> dict[str, Any]:
    return {**fields, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("fragments", "indexes"),
    [
        ([call(name="a", index=0, id="x"), call("{}", index=0), call("{}", "b", index=1, id="y")], [0, 0, 1]),
        ([call("{}", "a", index=0, id="x"), call("{}", "b", index=0, id="y")], [0, 1]),
        ([call("{}", "a", id="x"), call("{}", "b", id="y")], [0, 1]),
        ([call(name="a", id="x"), call("{"), call("}"), call("{}", "b", id="y")], [0, 0, 0, 1]),
        ([call("{}", "a"), call("{}", "a")], [0, 1]),
        ([call("{}", "a", index=0, id=""), call("{}", "a", index=0, id="")], [0, 1]),
        ([call("{}", "a", index=1), call("{}", "a", index=2)], [0, 1]),
    ],
)
def test_every_call_of_an_answer_has_an_index_of_its_own(fragments: list[dict[str, Any]], indexes: list[int]) -> None:
    numbered = Numbered()
    for fragment in fragments:
        numbered.complete({"choices": [{"delta": {"tool_calls": [fragment]}}]})
    assert [fragment["index"] for fragment in fragments] == indexes


def test_all_chunks_of_an_answer_have_an_id() -> None:
    numbered = Numbered()
    given, lacking, empty = [numbered.complete(chunk)["id"] for chunk in ({"id": "x"}, {}, {"id": ""})]
    assert given == "x"
    assert lacking == empty != ""


def say(text: str, finish: str | None = None, **more: Any) -> Chunk:
    return {"id": "x", "choices": [{"delta": {"content": text}, "finish_reason": finish}], **more}


def test_texts_in_a_row_go_on_together_and_nothing_else_does() -> None:
    thought = {"choices": [{"delta": {"reasoning_content": "hm", "content": "?"}}]}
    called = {"choices": [{"delta": {"tool_calls": [call("{}", "a")]}}]}
    counted = say("", usage={"completion_tokens": 3})
    given = [say(""), say("a"), say("b"), thought, say("c"), called, say("d"), say("e"), say("f", "stop"), counted]
    found = list(joined(given))
    assert found == [say(""), say("ab"), thought, say("c"), called, say("de"), say("f", "stop"), counted]
    assert given[1] == say("a")


def test_what_came_before_a_failure_comes_before_it() -> None:
    def chunks() -> Iterator[Chunk]:
        yield say("a")
        yield say("b")
        raise ModelFailed("no")

    found = joined(chunks())
    assert next(found) == say("ab")
    with pytest.raises(ModelFailed, match="no"):
        next(found)

"""Examples as lines: what programs are trained on."""

import logging
from pathlib import Path

import msgspec
import pytest

from agentic_fleet.learning.examples import Example, Forgotten, Utterance, append_example, read_examples
from tests.faults.table import row

EXAMPLE = Example(
    workflow_id="w1",
    at=1000,
    task="Compare \u2028 heat pumps \U0001f600",
    context=(Utterance(role="user", content="Hello\nthere"), Utterance(role="assistant", content="Hi", author="w")),
    replies=(Utterance(role="assistant", content="They differ.", author="writer", more={"a": [1, None]}),),
    complexity="complex",
    mode="sequential",
    agents=("researcher", "writer"),
    subtasks={"writer": "Write it."},
    decided_by="model",
    quality_score=7.5,
    quality_flag="low_confidence",
    caller="ada",
    model="m",
    program_version="v1",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dspy_examples.jsonl"


def test_an_example_comes_back_as_it_was_written(path: Path) -> None:
    assert read_examples(path) == []
    append_example(path, EXAMPLE)
    assert read_examples(path) == [EXAMPLE]
    assert path.read_bytes().isascii()
    assert path.read_bytes().count(b"\n") == 1
    assert EXAMPLE.answer == "They differ."


def test_of_the_lines_for_one_run_the_last_counts(path: Path) -> None:
    append_example(path, EXAMPLE)
    append_example(path, Example(workflow_id="w2", at=2, task="Other"))
    corrected = msgspec.structs.replace(EXAMPLE, quality_score=2.0, corrected=True, comment="Wrong.")
    append_example(path, corrected)
    assert read_examples(path) == [corrected, Example(workflow_id="w2", at=2, task="Other")]


def test_a_forgotten_run_teaches_nothing(path: Path) -> None:
    append_example(path, EXAMPLE)
    append_example(path, Forgotten(workflow_id="w1"))
    assert read_examples(path) == []


@row(38)
def test_what_cannot_be_read_is_skipped_and_counted_without_its_text(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append_example(path, EXAMPLE)
    with path.open("ab") as file:
        file.write(b'{"line":"example","secret":1}\n[]\n' + b"[" * 100_000 + b"\n" + b'{"line":"exam')
    append_example(path, Example(workflow_id="w2", at=2, task="Other"))
    with caplog.at_level(logging.WARNING):
        assert [example.workflow_id for example in read_examples(path)] == ["w1", "w2"]
    (record,) = caplog.records
    assert record.getMessage() == "4 lines of examples could not be read and were skipped"


def test_a_later_version_may_say_more(path: Path) -> None:
    path.write_bytes(b'{"line":"example","workflow_id":"w","at":1,"task":"t","tomorrow":true}\n')
    assert read_examples(path) == [Example(workflow_id="w", at=1, task="t")]

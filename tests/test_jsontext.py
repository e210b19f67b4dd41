"""JSON in and out: ASCII outwards, strict inwards."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_fleet import jsontext
from agentic_fleet.errors import Invalid
from tests.faults.table import row


class Body(msgspec.Struct, forbid_unknown_fields=True):
    message: str
    limit: int = 3


@given(st.text())
def test_any_text_survives_as_one_line_of_ascii(text: str) -> None:
    line = jsontext.encode({"text": text})
    assert line.isascii()
    assert not set(line) & set(b"\r\n")
    assert json.loads(line) == {"text": text}


@row(44)
def test_half_an_emoji_becomes_a_replacement_character_instead_of_breaking_the_stream() -> None:
    assert json.loads(jsontext.encode({"a": ["\ud83d", {"\udc00": 1}]})) == {"a": ["\ufffd", {"\ufffd": 1}]}


def test_separators_that_tear_lines_are_escaped() -> None:
    assert jsontext.encode("a\u2028b\u2029c\u0085d😀") == b'"a\\u2028b\\u2029c\\u0085d\\ud83d\\ude00"'


@row(42, 43)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"message": NaN}',
        b'{"message": 1e400}',
        b'\xef\xbb\xbf{"message": "a"}',
        '{"message": "a"}'.encode("utf-16"),
        b'{"message": "\\ud800"}',
        '{"message": "\ud800"}',
        b"[" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"9" * 5_000,
    ],
    ids=["empty", "cut", "nan", "1e400", "bom", "utf-16", "lone", "raw-lone", "deep", "deep-objects", "digits"],
)
def test_text_that_is_not_strict_json_is_refused(body: bytes | str) -> None:
    with pytest.raises(Invalid):
        jsontext.decode(body, Body)


def test_brackets_inside_strings_are_not_depth() -> None:
    text = "[{" * 500
    assert jsontext.decode(jsontext.encode({"message": text}), Body).message == text


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        (b'{"message": 1}', "message", "expected `str`, got `int`"),
        (b'{"message": "a", "colour": 1}', "colour", "unknown field"),
        (b"{}", "message", "required"),
        (b'{"message": "a", "limit": "x"}', "limit", "expected `int`, got `str`"),
        (b"[]", "body", "expected `object`, got `array`"),
    ],
)
def test_a_refusal_names_the_field(body: bytes, field: str, problem: str) -> None:
    with pytest.raises(Invalid) as refusal:
        jsontext.decode(body, Body)
    assert refusal.value.errors == ((field, problem),)


@row(43)
@pytest.mark.parametrize(
    "body", [b"[" + b"1," * 60_000 + b"1]", b"[" + b"[]," * 40_000 + b"1]", b'{"a":' + b"[{}," * 60_000]
)
def test_a_body_of_very_many_values_is_refused_before_it_is_parsed(body: bytes) -> None:
    with pytest.raises(Invalid, match="holds too much"):
        jsontext.decode(body, object)


def test_a_long_text_is_one_value() -> None:
    text = "all [of] {this}, \\n" * 1_000
    assert jsontext.decode(jsontext.encode({"a": [text] * 8}), dict[str, list[str]]) == {"a": [text] * 8}

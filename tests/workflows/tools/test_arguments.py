"""Arguments as plain JSON that always comes out the same."""

from typing import Any

import pytest
from pydantic import BaseModel

from agentic_fleet import jsontext
from agentic_fleet.workflows.tools.arguments import MAX_DEPTH, plain


class _Model(BaseModel):
    b: int = 1
    a: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, 1.5, "x"]}, '{"a":[true,null,1.5,"x"],"b":1}'),
        (_Model(), '{"a":[1,2],"b":1}'),
        ({1: 2**70}, '{"1":"1180591620717411303424"}'),
        (_Model, None),
    ],
)
def test_it_comes_out_as(value: Any, text: str | None) -> None:
    assert jsontext.encode(plain(value)).decode() == (text or jsontext.encode(str(value)).decode())


def test_deep_nesting_becomes_text() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    body = jsontext.encode(plain(value))
    assert body.startswith(b"[" * MAX_DEPTH + b'"[')
    assert jsontext.decode(body, list)

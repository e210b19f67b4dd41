"""The arguments of a tool call: as plain JSON that always comes out the same, and what is wrong with them."""

from collections.abc import Mapping
from typing import Any

from agent_framework import FunctionTool
from pydantic import BaseModel, ValidationError

MAX_DEPTH = 32  # levels that stay structured; deeper ones become text, so that every reader of events can parse them
_BIGGEST = 2**63  # larger whole numbers become text: no JSON reader agrees with another on them


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """`value` as JSON types, with sorted keys."""
    match value:
        case None | bool() | str() | float():
            return value
        case int():
            return value if abs(value) < _BIGGEST else str(value)
        case BaseModel():
            return plain(value.model_dump(), depth)
        case Mapping() if depth:
            return {str(key): plain(value[key], depth - 1) for key in sorted(value, key=str)}
        case list() | tuple() if depth:
            return [plain(item, depth - 1) for item in value]
    return str(value)


def problem(function: FunctionTool, arguments: Any) -> str | None:
    """Why `function` cannot be called with these, for the model to read; None when nothing speaks against it."""
    if function.input_model is not None:
        try:
            function.input_model.model_validate(arguments)
        except ValidationError as error:
            lines = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            return f"The arguments are not valid: {'; '.join(lines)}"
    elif missing := [name for name in function.parameters().get("required", ()) if name not in arguments]:
        return f"The arguments are not valid: {', '.join(missing)} missing"
    return None

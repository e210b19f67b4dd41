"""What a run asks a human, in lines to read: whole, because who approves a call must have seen all of it."""

import json
from collections.abc import Mapping
from typing import Any

MOST = 8_000
"""Characters of one value. What is longer is cut, and says so."""


def lines(asked: Mapping[str, Any]) -> list[str]:
    """The question, and below it what it is about; at least one line."""
    request = asked["request"]
    if not isinstance(request, Mapping):
        return [_text(request)]
    match asked["request_type"]:
        case "UserInput":
            return [f"{request.get('agent') or 'the team'} asks: {_text(request.get('question'))}"]
        case "ToolApproval":
            arguments = request.get("arguments")
            about = arguments if isinstance(arguments, Mapping) else {"arguments": arguments}
            return [
                f"{request.get('agent') or 'an agent'} wants to use {request.get('tool')}",
                *(f"{name}: {_text(value)}" for name, value in about.items()),
            ]
        case "PlanReview":
            subtasks = request.get("subtasks") or {}
            return [
                f"the plan is {request.get('mode')}, because: {request.get('reason')}",
                *(f"{agent}: {_text(subtasks.get(agent, ''))}" for agent in request.get("agents") or ()),
            ]
    return [f"{name}: {_text(value)}" for name, value in request.items()] or ["?"]


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST else f"{text[:MOST]}… [cut; {len(text)} characters in all]"

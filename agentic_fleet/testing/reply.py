"""What a scripted model says: one `Reply` per call, and the scripts that choose it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio

from agentic_fleet import jsontext
from agentic_fleet.testing.errors import ScriptUsedUp
from agentic_fleet.testing.least_json import least

PASSING = {"score": 9}
"""What an assessment must say so that no refinement follows."""

Body = dict[str, Any]
"""A request to ``/v1/chat/completions``, as it came in."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: `text`, which is cut into words, or `tokens`; or tool calls; or something that goes wrong.

    Tokens that reach the service at once go on as one: a test that counts them wants a `pause` between them.

    With a `status` other than 200 it is a refusal, whose JSON body is ``{"error": error}``. The service asks a few
    more times after 408, 429 and 5xx, and after no other.
    """

    text: str = ""
    tokens: Sequence[str] = field(default=(), kw_only=True)
    reasoning: Sequence[str] = field(default=(), kw_only=True)
    reasoning_field: str = field(default="reasoning_content", kw_only=True)  # some servers call it "reasoning"
    tool_calls: Sequence[tuple[str, str | Mapping[str, Any]]] = field(default=(), kw_only=True)  # name, arguments
    pause: float = field(default=0.0, kw_only=True)  # seconds before each token
    hang_after: int | None = field(default=None, kw_only=True)
    """After so many tokens nothing more, until `ScriptedModel.release`; 0: not even headers."""
    drop_after: int | None = field(default=None, kw_only=True)  # the connection breaks after so many tokens
    end_after: int | None = field(default=None, kw_only=True)
    """The stream ends politely after so many tokens, without an ending."""
    garbage: bool = field(default=False, kw_only=True)  # a line that is not JSON stands before the first token
    status: int = field(default=200, kw_only=True)
    error: Mapping[str, Any] = field(default_factory=lambda: {"message": "no", "type": "scripted"}, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    hold_before: anyio.Event | None = field(default=None, kw_only=True)
    """Nothing is sent, not even headers, until it is set. Events are for tests that share the model's event loop
    (``async with ScriptedModel``)."""
    hold_after: tuple[int, anyio.Event] | None = field(default=None, kw_only=True)
    """After so many tokens nothing more until it is set."""
    leaves_out: Collection[str] = field(default=(), kw_only=True)
    """``"index"``, ``"id"``: tool calls come whole and lack these; answers lack ids as well."""
    finish_reason: str | None = field(default=None, kw_only=True)  # None: what fits
    usage: tuple[int, int] | None = field(default=None, kw_only=True)
    """Prompt and completion tokens; None: counted."""

    def __post_init__(self) -> None:
        if self.text and self.tokens:
            raise ValueError("A reply has a text or tokens, not both.")
        if self.text:
            object.__setattr__(self, "tokens", words(self.text))


Script = str | Reply | Sequence[str | Reply] | Callable[[Body], "Reply | str | None"]


def answer(body: Body) -> Reply:
    """What a model without a script says: a decision as of `decision`, and else the user's own words after "Re: "."""
    return decision(body) if is_decision(body) else Reply(tokens=["Re", ": ", *words(asked(body))])


def decision(body: Body, **fields: Any) -> Reply:
    """The least JSON that the schema of a decision allows, but with a score that passes, and with `fields`.

    Fields that the schema does not have are left out, so that one set serves all decisions of a run.
    """
    found: dict[str, Any] = least(body["response_format"]["json_schema"]["schema"])
    given = PASSING | fields
    text = jsontext.encode(found | {name: given[name] for name in given.keys() & found.keys()}).decode()
    return Reply(tokens=[text[at : at + 8] for at in range(0, len(text), 8)])


def is_decision(body: Body) -> bool:
    """Whether the call is for JSON by a schema (a plan, an assessment, the next speaker), not for an agent's words."""
    return bool((body.get("response_format") or {}).get("type") == "json_schema")


def asked(body: Body) -> str:
    """The text of the last user message."""
    messages = [message["content"] for message in body["messages"] if message["role"] == "user"]
    text = messages[-1] if messages else ""
    return text if isinstance(text, str) else " ".join(part.get("text", "") for part in text)


def words(text: str) -> list[str]:
    """`text`, cut after each blank."""
    cut = text.split(" ")
    return [f"{word} " for word in cut[:-1]] + cut[-1:]


def play(script: Script | None) -> Callable[[Body], Reply]:
    """The script as a function of a request's body."""
    match script:
        case None:
            return answer
        case str() | Reply():
            return lambda body: decision(body) if is_decision(body) else _reply(script, body)
        case Sequence():
            return _one_by_one(script)
        case _:
            return lambda body: _reply(script(body), body)


def _one_by_one(replies: Sequence[str | Reply]) -> Callable[[Body], Reply]:
    rest, calls = iter(replies), count(1)

    def reply(body: Body) -> Reply:
        if is_decision(body):
            return decision(body)
        call = next(calls)
        for said in rest:
            return _reply(said, body)
        raise ScriptUsedUp(f"The script is used up: its replies ({len(replies)}) are given, and this is call {call}.")

    return reply


def _reply(said: Reply | str | None, body: Body) -> Reply:
    if said is None:
        return answer(body)
    return Reply(said) if isinstance(said, str) else said

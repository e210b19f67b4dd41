"""Small questions about a text over HTTP: its intent, its entities. The work ends when the client leaves."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypedDict, TypeVar

import anyio
from msgspec import Meta, Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from agentic_fleet.errors import Draining, Invalid
from agentic_fleet.web import views, wire
from agentic_fleet.web.parts import parts_of

T = TypeVar("T")

_Words = Annotated[str, Meta(min_length=1, max_length=10_000)]
_Label = Annotated[str, Meta(min_length=1, max_length=100)]
_Labels = Annotated[list[_Label], Meta(min_length=1, max_length=50)]


class IntentBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/v1/classify_intent"""

    text: _Words
    possible_intents: _Labels


class EntityBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /api/v1/extract_entities"""

    text: _Words
    entity_types: _Labels


class IntentView(TypedDict):
    intent: str
    confidence: float  # 0..1
    reasoning: str


class EntityView(TypedDict):
    text: str
    type: str
    confidence: float  # 0..1


class EntitiesView(TypedDict):
    entities: list[EntityView]
    reasoning: str


async def classify_intent(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    body = await wire.body(request, IntentBody)
    intents = _distinct("possible_intents", body.possible_intents)
    _check(request, body.text)
    found = await _while_connected(request, lambda: parts_of(request).tuning.language.intent(body.text, intents))
    said: IntentView = {"intent": found.intent, "confidence": found.confidence, "reasoning": found.reasoning}
    return views.reply(said)


async def extract_entities(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    body = await wire.body(request, EntityBody)
    types = _distinct("entity_types", body.entity_types)
    _check(request, body.text)
    found = await _while_connected(request, lambda: parts_of(request).tuning.language.entities(body.text, types))
    said: EntitiesView = {
        "entities": [{"text": it.text, "type": it.type, "confidence": it.confidence} for it in found.entities],
        "reasoning": found.reasoning,
    }
    return views.reply(said)


def _check(request: Request, text: str) -> None:
    if not text.strip():
        raise Invalid("text: must not be only whitespace", [("text", "must not be only whitespace")])
    if parts_of(request).runs.draining:
        raise Draining("The service is shutting down.")


def _distinct(field: str, labels: list[str]) -> list[str]:
    """Each once, in their order."""
    if not all(label.strip() for label in labels):
        raise Invalid(f"{field}: none may be only whitespace", [(field, "none may be only whitespace")])
    return list(dict.fromkeys(labels))


async def _while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """What the work gives. ClientDisconnect, and the work is cancelled, when the client leaves before."""
    found: list[T] = []

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        scope.cancel("the client has left")

    failure: Exception | None = None
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                found.append(await work())
            except Exception as error:  # raised again below: a task group would wrap it
                failure = error
            tasks.cancel_scope.cancel("done")
    if failure:
        raise failure
    if not found:
        raise ClientDisconnect
    return found[0]

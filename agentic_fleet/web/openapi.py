"""`GET /openapi.json`: the HTTP surface as an OpenAPI 3.1 document, made from the routes and the types they name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from agentic_fleet import __version__
from agentic_fleet.events import StreamEvent
from agentic_fleet.web import views, wire
from agentic_fleet.web.door import shapes
from agentic_fleet.web.operation import Operation, Resource
from agentic_fleet.web.proxied import link

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_HEADERS: Mapping[str, Json] = {
    "Idempotency-Key": {"schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"}},
    "Last-Event-ID": {"schema": {"type": "string", "pattern": r"^[A-Za-z0-9_-]{1,64}:[0-9]{1,18}$"}},
}
_FRAME: Json = {
    "description": "A frame of a stream. A heartbeat has no id.",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "<run_id>:<seq>, the cursor behind this event"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": _REF.format(name="StreamEvent")},
        },
        "retry": {"type": "integer", "description": "Milliseconds before a reconnect; in the first frame"},
    },
    "required": ["data"],
}
_DIALECT: Json = {
    "text/event-stream": {
        "schema": {
            "description": "A frame of OpenAI's streaming API; comments keep the connection alive.",
            "type": "object",
            "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
            "required": ["data"],
        }
    }
}
_STREAM: Json = {"text/event-stream": {"schema": {"$ref": _REF.format(name="Frame")}}}


async def show(request: Request) -> Response:
    wire.query(request, wire.NoQuery)
    servers = [{"url": link(request, "/")}]
    return views.reply({**describe(request.app.routes), "servers": servers})


def describe(routes: Iterable[BaseRoute]) -> Json:
    """The document. It costs a few milliseconds."""
    resources = [route for route in routes if isinstance(route, Resource)]
    types = [each for route in resources for operation in route.operations.values() for each in _types(operation)]
    unique = list(dict.fromkeys([*types, views.ProblemView, shapes.ErrorView, StreamEvent]))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    known = dict(zip(unique, map(_ecma, schemas), strict=True))
    return {
        "openapi": "3.1.0",
        "info": {"title": "AgenticFleet", "version": __version__, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": {route.path: dict(_path_item(route, known)) for route in resources},
        "components": {
            "schemas": {**_ecma(components), "Frame": _FRAME},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "fleet_session"},
            },
        },
        "security": [{"key": []}, {"session": []}, {}],
    }


def _types(operation: Operation) -> Iterator[Any]:
    yield from operation.query
    if operation.body:
        yield operation.body
    yield from (answer for answer in operation.answers.values() if answer is not None)


def _path_item(route: Resource, known: Mapping[Any, Json]) -> Iterator[tuple[str, Any]]:
    if names := re.findall(r"{(\w+)}", route.path):
        schema = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
        yield "parameters", [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]
    for method, operation in route.operations.items():
        yield method.lower(), _operation(operation, known)


def _operation(operation: Operation, known: Mapping[Any, Json]) -> Json:
    described: Json = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "responses": {
            **{str(status): _answer(status, answer, known) for status, answer in operation.answers.items()},
            "default": _refusal(operation, known),
        },
    }
    besides: Json = {media: {"schema": {"type": "string"}} for media in operation.media}
    if operation.stream:
        besides |= _DIALECT if operation.openai else _STREAM
    if besides:
        described["responses"].setdefault("200", {"description": "OK", "content": {}})
        described["responses"]["200"]["content"] = {**described["responses"]["200"]["content"], **besides}
    parameters = [each for query in operation.query for each in _parameters(query)]
    parameters += [{"name": name, "in": "header", **_HEADERS[name]} for name in operation.headers]
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        described["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(operation.body)),
            "content": {"application/json": {"schema": known[operation.body]}},
        }
    return described


def _refusal(operation: Operation, known: Mapping[Any, Json]) -> Json:
    if operation.openai:
        return _content("OpenAI's error object", "application/json", known[shapes.ErrorView])
    return _content("A problem (RFC 9457)", "application/problem+json", known[views.ProblemView])


def _answer(status: int, answer: Any, known: Mapping[Any, Json]) -> Json:
    phrase = HTTPStatus(status).phrase
    return {"description": phrase} if answer is None else _content(phrase, "application/json", known[answer])


def _content(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _parameters(query: type[Struct]) -> Iterator[Json]:
    (schema,), components = msgspec.json.schema_components([query], ref_template=_REF)
    shape = components[schema["$ref"].rpartition("/")[2]]
    for name, each in shape["properties"].items():
        told = next((one for one in each.get("anyOf", ()) if one != {"type": "null"}), each)  # absent, never null
        yield {"name": name, "in": "query", "required": name in shape["required"], "schema": _ecma(told)}


def _ecma(schema: Any) -> Any:
    """JSON Schema has the regular expressions of ECMA-262, where the ends of a text are `^` and `$`."""
    match schema:
        case {"pattern": str(pattern)}:
            return {**schema, "pattern": pattern.replace(r"\A", "^").replace(r"\Z", "$")}
        case dict():
            return {key: _ecma(value) for key, value in schema.items()}
        case list():
            return [_ecma(value) for value in schema]
        case _:
            return schema

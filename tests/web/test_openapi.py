"""`/openapi.json` tells what the routes do: compared with them, and tried with what it allows and what it does not."""

import re
from typing import Any

import anyio
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from agentic_fleet.web.openapi import describe
from agentic_fleet.web.operation import Resource
from agentic_fleet.web.routes import ROUTES
from tests.web.site import site

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
OPERATIONS = [(route.path, method) for route in ROUTES if isinstance(route, Resource) for method in route.operations]


async def test_it_lists_every_route_with_its_methods() -> None:
    async with site() as it:
        document = await it.get("/openapi.json")
    told = {
        (path, method.upper()) for path, item in document["paths"].items() for method in item if method != "parameters"
    }
    assert told == {
        (route.path, method)
        for route in ROUTES
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    names = [operation["operationId"] for item in document["paths"].values() for operation in _operations(item)]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere_and_no_name_is_left_over() -> None:
    document = describe(ROUTES)
    used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    kept = set(document["components"]["schemas"])
    assert used <= kept
    assert kept - used <= {"NoQuery", "StreamEvent", *(name for name in kept if name.endswith("Query"))} | {"AskWords"}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_what_it_allows_works_and_what_it_does_not_is_refused(path: str, method: str) -> None:
    """Never a 500, never an answer of another shape, never a wrong request that passes for a right one."""
    document = describe(ROUTES)
    # The chat protocol and the door ignore what they do not know.
    checks = [check for check in CHECKS if not (check is negative_data_rejection and path.startswith("/api/chat/"))]
    async with site(run_rate=0, max_runs=1000) as it:
        schema = schemathesis.openapi.from_dict(document)
        schema.config.update(base_url=it.url)

        def attempt() -> None:
            operation = schema[path][method]
            right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

            @settings(
                max_examples=30,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=right | wrong)
            def run(case: Any) -> None:
                case.call_and_validate(checks=checks, timeout=5)

            run()

        await anyio.to_thread.run_sync(attempt)


def _operations(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for method, operation in item.items() if method != "parameters"]

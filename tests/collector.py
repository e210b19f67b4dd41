"""An OTLP/HTTP collector for tests: it keeps the spans that it is sent."""

import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

from agentic_fleet.testing.server import serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    id: bytes
    parent: bytes
    trace: str
    name: str
    began: int
    ended: int
    facts: dict[str, Any]
    events: tuple[str, ...]
    failed: bool
    body: bytes  # all of it, as it was sent

    @classmethod
    def read(cls, sent: Sent) -> "Span":
        return cls(
            id=sent.span_id,
            parent=sent.parent_span_id,
            trace=sent.trace_id.hex(),
            name=sent.name,
            began=sent.start_time_unix_nano,
            ended=sent.end_time_unix_nano,
            facts={each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in sent.attributes},
            events=tuple(event.name for event in sent.events),
            failed=sent.status.code == sent.status.STATUS_CODE_ERROR,
            body=sent.SerializeToString(),
        )


@dataclass(slots=True)
class Collector:
    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, str] = field(default_factory=dict)
    _came: anyio.Event = field(default_factory=anyio.Event)

    def keep(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = {each.key: each.value.string_value for each in group.resource.attributes}
            self.spans += [Span.read(sent) for scope in group.scope_spans for sent in scope.spans]
        self._came.set()
        self._came = anyio.Event()

    async def wait_for(self, condition: Callable[[], object]) -> None:
        """Raises TimeoutError."""
        with anyio.fail_after(20):
            while not condition():
                await self._came.wait()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def path(self, span: Span) -> tuple[str, ...]:
        """The names from the top of its trace down to it."""
        by_id = {each.id: each for each in self.spans}
        return (*(self.path(by_id[span.parent]) if span.parent in by_id else ()), span.name)

    def drawn(self, parent: bytes = b"", depth: int = 0) -> Iterator[str]:
        """The tree, for failing tests."""
        for span in sorted(self.spans, key=lambda span: span.began):
            if span.parent == parent:
                yield "  " * depth + span.name
                yield from self.drawn(span.id, depth + 1)


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    found = Collector()

    async def receive_spans(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if (b"content-encoding", b"gzip") in scope["headers"]:
            body = gzip.decompress(body)
        assert scope["path"] == "/v1/traces"
        found.keep(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with serving(receive_spans, lifespan="off") as found.url:
        yield found

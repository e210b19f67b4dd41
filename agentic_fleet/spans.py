"""Spans of requests, runs and jobs, and the exporter that sends them with Agent Framework's own (OTLP over HTTP).

A run is a child of the request that starts it, although it outlives it: one trace then shows everything, and that is
what people look for. A run that a socket starts is a trace of its own: a socket may start many, and lives long. No
span holds what anybody said; of Agent Framework's that is so unless ENABLE_SENSITIVE_DATA is set.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Literal

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agentic_fleet import __version__, context
from agentic_fleet.events import TOKENS, StreamEvent, StreamEventType
from agentic_fleet.tracing import Answered, Concluded, Tracing
from agentic_fleet.turns import Result, RunStatus, Unfinished

NAME = "agentic-fleet"
"""The service's, unless OTEL_SERVICE_NAME says otherwise."""
LAST_SPANS = 3.0
"""Seconds in which the last spans must have gone when the service ends."""
_PROBES = ("/health", "/ready", "/metrics", "/console/")
"""What is asked for every few seconds, or with every page, and tells nothing."""
_PLUMBING = ("edge_group.process", "message.send", "workflow.build")
"""Agent Framework's spans of the way from one phase to the next: more than half of all, and nothing is below them."""


class Spans(Tracing):
    """On. Every other knob is OpenTelemetry's own: OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, ..."""

    def __init__(self, endpoint: str) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(_Readable(exporter))
        trace.set_tracer_provider(self._provider)
        self._tracer = trace.get_tracer(NAME, __version__)
        self._headers = TraceContextTextMapPropagator()
        self.middleware = (_Runs(self._tracer),)

    @contextmanager
    def request(self, scope: Mapping[str, Any], request_id: str) -> Iterator[Answered]:
        """A span of its own, below the caller's if it sends a `traceparent`."""
        if scope["type"] != "http" or scope["path"].startswith(_PROBES):
            with super().request(scope, request_id) as answered:
                yield answered
            return
        method = scope["method"]
        facts = {"http.request.method": method, "url.scheme": scope["scheme"], "fleet.request_id": request_id}
        with (
            self._tracer.start_as_current_span(
                method,
                self._headers.extract(_text(scope["headers"])),
                kind=trace.SpanKind.SERVER,
                attributes=facts,
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            context.bind(trace_id=_trace_id(span)),
        ):

            def answered(route: str | None, status: int) -> None:
                if route:
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                if status >= 500:
                    span.set_attribute("error.type", str(status))
                    span.set_status(trace.StatusCode.ERROR)

            yield answered

    @contextmanager
    def job(self, job_id: str, module: str) -> Iterator[Concluded]:
        """What its process asks of a model is not in it: that process has no exporter."""
        facts = {"fleet.job_id": job_id, "fleet.module": module}
        with self._tracer.start_as_current_span(
            "optimisation", attributes=facts, record_exception=False, set_status_on_exception=False
        ) as span:

            def concluded(status: str) -> None:
                span.set_attribute("fleet.status", status)
                if status == "failed":
                    span.set_status(trace.StatusCode.ERROR)

            yield concluded

    def close(self) -> None:
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(LAST_SPANS)  # a collector that is away is tried again for longer


class _Readable(BatchSpanProcessor):
    """Sends, from a thread of its own, what a person wants to see."""

    def on_end(self, span: ReadableSpan) -> None:
        if not span.name.startswith(_PLUMBING):
            super().on_end(span)


class _Life:
    """One life of a run. Its span is the current one of the run's task, and so above all that the run does."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span
        self.spoken = False
        self._current = otel.attach(trace.set_span_in_context(span))
        self._trace: Token[str | None] = context.trace_id.set(_trace_id(span))

    def end(self, status: RunStatus) -> None:
        self.span.set_attribute("fleet.status", status)
        self.span.end()
        otel.detach(self._current)
        context.trace_id.reset(self._trace)


_life: ContextVar[_Life | None] = ContextVar("span", default=None)


class _Runs:
    """A `ChatMiddleware`, shared by all runs; what belongs to one is in a context variable."""

    tokens: Literal["first"] = "first"

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    async def on_start(self, task: str, context: dict[str, Any]) -> None:
        facts = {
            "fleet.run_id": context["workflowId"],
            "gen_ai.conversation.id": context["conversation_id"],
            "fleet.mode": context["mode"],
            "fleet.resumed": context["resumed"],
        }
        _life.set(_Life(self._tracer.start_span("run", attributes=facts)))

    async def on_event(self, event: StreamEvent) -> None:
        if not (life := _life.get()):
            return
        if event.type in TOKENS:
            if not life.spoken:
                life.spoken = True
                life.span.add_event("first token")
        elif event.type is StreamEventType.ORCHESTRATOR_MESSAGE and event.kind in ("request", "response"):
            life.span.add_event(f"human {event.kind}")

    async def on_end(self, result: Any) -> None:
        if life := _life.get():
            if isinstance(result, Result):
                _describe(life.span, result)
            self._end(life, RunStatus.COMPLETED)

    async def on_error(self, error: Exception) -> None:
        if life := _life.get():
            status = error.status if isinstance(error, Unfinished) else RunStatus.FAILED
            if status is RunStatus.FAILED:
                cause = type(error.__cause__).__name__ if error.__cause__ else "Unexpected"
                life.span.set_attribute("error.type", cause)
                life.span.set_status(trace.StatusCode.ERROR)
            self._end(life, status)

    def _end(self, life: _Life, status: RunStatus) -> None:
        _life.set(None)
        life.end(status)


def _describe(span: trace.Span, result: Result) -> None:
    span.set_attribute("gen_ai.agent.name", result.agent_id)
    if result.quality_score is not None:
        span.set_attribute("fleet.quality_score", result.quality_score)
    if result.usage:
        span.set_attribute("gen_ai.usage.input_tokens", result.usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", result.usage.completion_tokens)


def _resource() -> Resource:
    """What the environment says of the service, and what it leaves out."""
    named = Resource.create({"service.version": __version__})
    if str(named.attributes["service.name"]).startswith("unknown_service"):
        return named.merge(Resource({"service.name": NAME}))
    return named


def _text(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def _trace_id(span: trace.Span) -> str:
    return trace.format_trace_id(span.get_span_context().trace_id)

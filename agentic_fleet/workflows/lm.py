"""DSPy's language model over our one seam to a model, so that decisions and agents share one queue and one limit.

An engine of our own keeps litellm (122 MB, a price list from the network) off the path. It is asynchronous: cancelling
an awaited decision ends its generation.
"""

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import cache
from typing import Any

# litellm, which DSPy would load for a model it does not know, fetches a price list from the network when imported
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import dspy
from dspy import lm15
from opentelemetry import trace

from agentic_fleet.workflows.completions import Completions

MAX_TOKENS = 4096  # of one decision: its JSON takes some hundred, the thoughts of a thinking model the rest

_FINISH = {"stop": "stop", "length": "length", "tool_calls": "tool_call", "content_filter": "content_filter"}
_PASSED_ON = ("max_tokens", "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty")

_tracer = trace.get_tracer("agentic-fleet")


def build_lm(completions: Completions, *, waiting: Callable[[Any, Any], Any] | None = None) -> dspy.LM:
    """For `dspy.context(lm=...)` and `acall`. No cache, no retries: the completions have their own.

    Synchronous calls are refused, unless `waiting` carries them out: it is given the coroutine function and its
    argument (bridge.py). A failed model comes out of `acall` as `dspy.LMUnexpectedError` whose `__cause__` is the
    ModelFailed.
    """
    return dspy.LM(
        "fleet/model",  # the real name would have DSPy apply its own rules for models of that name
        engine=_NoEngine(completions, waiting),
        async_engine=_Engine(completions),
        cache=False,
        num_retries=0,
        temperature=0.0,
        max_tokens=MAX_TOKENS,
    )


@cache
def configure_dspy() -> None:
    """Once per process: DSPy is to keep nothing. By default it holds the last 10,000 calls, users' words included."""
    dspy.configure(disable_history=True, trace=None)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


class _NoEngine:
    """DSPy reads a model's abilities from its synchronous engine. Calls are refused: they would block every run. They
    may be carried out only by somebody who has no runs."""

    supports_function_calling = False
    supports_reasoning = False

    def __init__(self, completions: Completions, waiting: Callable[[Any, Any], Any] | None) -> None:
        self._completions = completions
        self._waiting = waiting

    @property
    def supports_response_schema(self) -> bool:
        return self._completions.constrained

    @property
    def supported_params(self) -> frozenset[str]:
        return frozenset((*_PASSED_ON, "stop", *(("response_format",) if self._completions.constrained else ())))

    def complete(self, request: Any) -> Any:
        if self._waiting is None:
            raise RuntimeError("DSPy programs are awaited here: call acall() instead.")
        return self._waiting(_Engine(self._completions).complete, request)

    def close(self) -> None:
        pass  # the completions are their owner's


class _Engine:
    def __init__(self, completions: Completions) -> None:
        self._completions = completions

    async def complete(self, request: Any) -> Any:
        parts: list[str] = []
        with _span(self._completions.name) as span:
            async with aclosing(self.stream(request)) as events:
                async for event in events:
                    if isinstance(event, lm15.StreamDeltaEvent):
                        parts.append(event.delta.text)
            for direction in ("input", "output"):
                if (tokens := getattr(event.usage, f"{direction}_tokens")) is not None:
                    span.set_attribute(f"gen_ai.usage.{direction}_tokens", tokens)
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant("".join(parts)),
            finish_reason=event.finish_reason,
            usage=event.usage,
        )

    async def stream(self, request: Any) -> AsyncGenerator[Any, None]:
        """Text as it comes; the last event has the finish reason and the usage."""
        finish, usage = "stop", lm15.Usage()
        yield lm15.StreamStartEvent(model=request.model)
        async with aclosing(self._completions.stream(_body(request))) as chunks:
            async for chunk in chunks:
                if counts := chunk.get("usage"):
                    usage = lm15.Usage(
                        input_tokens=counts.get("prompt_tokens"), output_tokens=counts.get("completion_tokens")
                    )
                for choice in chunk.get("choices") or ():
                    finish = _FINISH.get(choice.get("finish_reason"), finish)
                    if text := (choice.get("delta") or {}).get("content"):
                        yield lm15.StreamDeltaEvent(lm15.TextDelta(text))
        yield lm15.StreamEndEvent(finish_reason=finish, usage=usage)

    async def aclose(self) -> None:
        pass  # the completions are their owner's


@contextmanager
def _span(model: str) -> Iterator[trace.Span]:
    """What Agent Framework tells OpenTelemetry of an agent's model calls, for a decision's."""
    facts = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "agentic_fleet", "gen_ai.request.model": model}
    with _tracer.start_as_current_span(
        f"chat {model}", attributes=facts, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def _body(request: Any) -> dict[str, Any]:
    """OpenAI's body. Refuses what it would have to drop: tools, and contents that are not text."""
    if request.tools:
        raise lm15.UnsupportedFeatureError("decisions have no tools", feature="tools")
    system = [{"role": "system", "content": _text(request.system)}] if request.system else []
    config = request.config
    body: dict[str, Any] = {
        "messages": [*system, *({"role": message.role, "content": message.text} for message in request.messages)]
    }
    body.update({key: value for key in _PASSED_ON if (value := getattr(config, key)) is not None})
    if config.stop:
        body["stop"] = list(config.stop)
    if wanted := config.response_format:
        body["response_format"] = _response_format(wanted)
    return body


def _text(system: Any) -> str:
    return system if isinstance(system, str) else "".join(part.text for part in system)


def _response_format(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted["type"] != "json_schema":
        return wanted
    return {
        "type": "json_schema",
        "json_schema": {"name": "decision", "strict": True}
        | {key: wanted[key] for key in ("name", "schema", "strict") if key in wanted},
    }

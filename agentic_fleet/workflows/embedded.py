"""The embedded model: llama.cpp inside this process, one request in, a stream of chunks out.

Its calls block, so each generation has a worker thread and a task that owns it; the generator a caller holds only
reads what they produce. The engine asks after every chunk whether to go on, and between the pieces of a prompt it sends
progress chunks for that purpose alone: this is how a cancelled generation ends.
"""

import logging
import math
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
from anyio import from_thread, to_thread
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from agentic_fleet import jsontext
from agentic_fleet.context import run_id
from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.admission import Admission, Place
from agentic_fleet.workflows.completions import Chunk
from agentic_fleet.workflows.weights import Weights

logger = logging.getLogger(__name__)

BATCH = 32
"""Tokens of a prompt between two questions whether to go on: 0.1 s of the 135M model on two cores, 0.2 s deep in a
long prompt (larger models take longer). 64 would read a quarter faster and take twice as long to stop."""

PROMPT_CACHE = 64  # MiB of prompts kept beside the slots; the engine's default is 8 GiB
MAX_TOKENS = 512  # of an answer, when the request does not say; the engine's default is no limit
TEMPERATURE = 0.3  # when the request does not say
# Small models lose the thread when they talk long or venture, and go round in circles.
SMALL_MAX_TOKENS, SMALL_TEMPERATURE, SMALL_REPEAT_PENALTY = 256, 0.0, 1.1

_PASSED_ON = ("messages", "temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty")
_UNDERSTOOD = frozenset({*_PASSED_ON, "max_tokens", "response_format"})


@asynccontextmanager
async def open_embedded(
    weights: Weights, *, threads: int, slots: int, context: int, queue: int
) -> AsyncIterator["Embedded"]:
    """Load the model (half a second; seconds for a large one, not to be cancelled), and unload it after the block.

    `context` is in tokens, prompt and answer, for each of `slots` generations at once; `queue` more may wait.
    Raises ModelFailed when the engine is missing or cannot use the weights. Leaving the block ends what is generating.
    """
    model = Embedded(weights, threads=threads, slots=slots, context=context, queue=queue)
    try:
        await to_thread.run_sync(model.load)
        async with model.open():
            yield model
    finally:
        with anyio.move_on_after(5, shield=True):
            await to_thread.run_sync(model.unload, abandon_on_cancel=True)


@dataclass(slots=True, kw_only=True)
class _Job:
    """One generation, shared by its task, its thread and its reader. Changed in the event loop's thread only."""

    request: bytes
    scope: anyio.CancelScope
    chunks: MemoryObjectSendStream[Chunk]
    answer: MemoryObjectReceiveStream[Chunk]
    finished: bool = False
    failure: ModelFailed | None = None


class Embedded:
    """A `Completions`. A `response_format` whose schema is a bare enum of strings is answered without quotes."""

    constrained = True

    def __init__(self, weights: Weights, *, threads: int, slots: int, context: int, queue: int) -> None:
        self.name = weights.name
        self._weights = weights
        self._threads = threads
        self._slots = slots
        self._context = context
        self._admission = Admission(slots=slots, queue=queue)
        self._workers = anyio.CapacityLimiter(slots)
        self._server: Any = None
        self._tasks: TaskGroup | None = None  # while open
        self._untold = True

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See `Completions`. ModelBusy when the queue is full."""
        if self._tasks is None:
            raise ModelFailed("The embedded model is closed.")
        self._tell_of(body.keys() - _UNDERSTOOD)
        request = jsontext.encode(engine_request(body, context=self._context, small=self._weights.small))
        chunks, answer = anyio.create_memory_object_stream[Chunk](math.inf)  # bounded by the tokens of one slot
        job = _Job(request=request, scope=anyio.CancelScope(), chunks=chunks, answer=answer)
        self._tasks.start_soon(self._work, job)
        try:
            async for chunk in answer:
                yield chunk
        finally:
            job.scope.cancel()
            answer.close()
        if job.failure:
            raise job.failure
        if not job.finished:
            raise ModelFailed("The embedded model was closed in mid-answer.")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer requests for the block."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield
            finally:
                self._tasks = None
                tasks.cancel_scope.cancel()

    async def _work(self, job: _Job) -> None:
        with job.chunks, job.scope:
            try:
                async with self._admission.place(run_id.get()) as place:
                    await to_thread.run_sync(self._generate, job, place, limiter=self._workers)
            except ModelFailed as failure:
                job.failure = failure
            except Exception:  # native code: its failures are not to take the other generations along
                logger.exception("the embedded model failed")
                job.failure = ModelFailed("The embedded model failed.")

    def _generate(self, job: _Job, place: Place) -> None:
        """In a worker thread. The engine generates in a thread of its own, so waiting for the loop costs no speed."""
        try:
            self._server.handle_chat_completions(
                job.request, lambda data: from_thread.run_sync(self._take, job, place, data)
            )
        except (ValueError, RuntimeError) as error:
            raise ModelFailed("The embedded model cannot take this request.") from error

    def _take(self, job: _Job, place: Place, data: bytes) -> bool:
        """One chunk; returns whether to stop."""
        if self._tasks is None or job.scope.cancel_called:
            return True
        chunk: Chunk = msgspec.json.decode(data)
        if "prompt_progress" in chunk:
            return False
        self._admission.prompt_read(place)
        if error := chunk.get("error"):
            job.failure = _failure(error)
            return True
        job.finished = job.finished or any(choice["finish_reason"] for choice in chunk["choices"])
        job.chunks.send_nowait(chunk)
        return False

    def _tell_of(self, dropped: Collection[str]) -> None:
        if dropped and self._untold:
            self._untold = False
            logger.info("the embedded model has no use for %s: dropped, now and later", ", ".join(sorted(dropped)))

    def load(self) -> None:
        """Blocks. Keeps the engine to itself: it stops when the last reference goes, and `unload` must be that."""
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads halve the speed on busy cores
        try:
            import xllamacpp  # here, because OpenMP reads its environment when it is loaded
        except ImportError as error:
            raise ModelFailed(
                "The engine of the embedded model is missing or cannot start: .venv/bin/pip install -e '.[local]', "
                "and on Debian or Ubuntu apt-get install libgomp1."
            ) from error
        try:
            self._server = xllamacpp.Server(self._parameters(xllamacpp))
            # stopped before its first answer, the engine can hang: its loop may not have begun, and misses the call
            self._server.handle_completions({"prompt": "Hi", "max_tokens": 1})
        except (RuntimeError, ValueError) as error:
            raise ModelFailed(f"The weights of {self.name} cannot be used by the embedded model's engine.") from error

    def unload(self) -> None:
        """Blocks until the engine's threads have ended (0.1 s). No generation may be running."""
        self._server = None

    def _parameters(self, xllamacpp: Any) -> Any:
        wanted = xllamacpp.CommonParams()
        wanted.model.path = str(self._weights.path)
        wanted.model_alias = {self.name}  # chunks would carry the path
        wanted.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE  # else mapped beside the repacked copy
        wanted.n_parallel = self._slots
        wanted.n_ctx = self._slots * self._context
        wanted.n_batch = wanted.n_ubatch = BATCH
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = self._threads
        wanted.cache_ram_mib = PROMPT_CACHE
        wanted.verbosity = 0
        # the engine always serves HTTP as well: on loopback, behind a key nobody has
        wanted.hostnames, wanted.port, wanted.api_keys = ["127.0.0.1"], 0, [secrets.token_urlsafe()]
        wanted.n_threads_http = 1
        wanted.ui = wanted.endpoint_slots = False
        return wanted


def engine_request(body: Mapping[str, Any], *, context: int, small: bool) -> dict[str, Any]:
    """The engine's request for a `Completions` body. An answer gets at most half of the slot's `context` tokens."""
    request: dict[str, Any] = {"temperature": SMALL_TEMPERATURE if small else TEMPERATURE}
    request.update({key: body[key] for key in _PASSED_ON if body.get(key) is not None})
    request["max_tokens"] = min(body.get("max_tokens") or (SMALL_MAX_TOKENS if small else MAX_TOKENS), context // 2)
    if small:
        request["repeat_penalty"] = SMALL_REPEAT_PENALTY
    if wanted := body.get("response_format"):
        request.update(_constraint(wanted))
    return request | {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}


def _constraint(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's keys for a `response_format`. One choice of few is cheapest as a grammar of bare words."""
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": {"type": "string", "enum": [*choices], **others}}} if (
            not others
        ):
            words = " | ".join(jsontext.encode(choice).decode() for choice in choices)
            return {"grammar": f"%llguidance {{}}\nstart: {words}"}
        case _:
            return {"response_format": wanted}


def _failure(error: Mapping[str, Any]) -> ModelFailed:
    if error.get("type") == "exceed_context_size_error":
        return ModelFailed(
            "The question and its context are too long for the embedded model "
            f"({error['n_prompt_tokens']} tokens, at most {error['n_ctx']})."
        )
    logger.warning("the embedded model refused a request: %s", error.get("type"))
    return ModelFailed("The embedded model cannot take this request.")

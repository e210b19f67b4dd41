"""The embedded model, with its real engine and the packaged weights."""

import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

import aiohttp
import anyio
import anyio.lowlevel
import dspy
import pytest
from anyio import to_thread, wait_all_tasks_blocked

from agentic_fleet.context import bind
from agentic_fleet.errors import ModelBusy, ModelFailed
from agentic_fleet.workflows.completions import Chunk
from agentic_fleet.workflows.embedded import SMALL_MAX_TOKENS, Embedded, engine_request, open_embedded
from agentic_fleet.workflows.lm import build_lm
from agentic_fleet.workflows.weights import Weights, own_weights, packaged_weights

SLOTS, QUEUE = 4, 4


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, so that the model is loaded once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def weights(anyio_backend: str) -> Weights:
    return await packaged_weights()


@pytest.fixture(scope="module")
async def model(weights: Weights) -> AsyncIterator[Embedded]:
    async with open_embedded(weights, threads=2, slots=SLOTS, context=2048, queue=QUEUE) as model:
        yield model


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8, **more}


def shaped(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


ENDLESS = ask("Count.", max_tokens=1000, **shaped({"type": "array", "items": {"type": "integer"}, "minItems": 2000}))
"""Some twenty seconds of generation: whoever gets a slot before has got it from a cancelled one."""

UNREADABLE = ask(" ".join(f"w{number} {number * 7}" for number in range(200)))
"""Some five seconds until the first token."""


async def answer(model: Embedded, body: dict[str, Any]) -> list[Chunk]:
    async with aclosing(model.stream(body)) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def reason_of(chunks: list[Chunk]) -> str:
    [reason] = [found for chunk in chunks for choice in chunk["choices"] if (found := choice["finish_reason"])]
    return str(reason)


async def test_the_same_question_gets_the_same_answer_in_pieces(model: Embedded) -> None:
    with anyio.fail_after(10):
        first = await answer(model, ask("What is the capital of Australia?", max_tokens=20))
        second = await answer(model, ask("What is the capital of Australia?", max_tokens=20))
    assert text_of(first) == text_of(second) == "The capital of Australia is Canberra."
    assert len(first) > 5
    assert reason_of(first) == "stop"


async def test_the_last_chunk_says_what_was_used(model: Embedded) -> None:
    with anyio.fail_after(10):
        chunks = await answer(model, ask("Tell me a story.", max_tokens=5))
    assert reason_of(chunks) == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert chunks[-1]["usage"]["prompt_tokens"] > 5


async def test_chunks_carry_the_models_name_and_no_path(model: Embedded, weights: Weights) -> None:
    with anyio.fail_after(10):
        chunks = await answer(model, ask("Hi", max_tokens=1))
    assert {chunk["model"] for chunk in chunks} == {"SmolLM2-135M-Instruct"}
    assert str(weights.path.parent) not in json.dumps(chunks)


async def test_a_question_that_does_not_fit_is_refused_with_its_length(model: Embedded) -> None:
    with anyio.fail_after(10):
        with pytest.raises(ModelFailed, match=r"too long for the embedded model \(\d{4} tokens, at most 2048\)"):
            await answer(model, ask("word " * 2100))
        assert await answer(model, ask("Hi", max_tokens=1))


async def test_half_an_emoji_in_a_question_does_no_harm(model: Embedded) -> None:
    with anyio.fail_after(10):
        assert text_of(await answer(model, ask("Hi \ud83d", max_tokens=2)))


async def test_a_request_the_engine_refuses_fails_alone(model: Embedded) -> None:
    with anyio.fail_after(10):
        for bad in (ask("Hi", **shaped({"type": "nonsense"})), {"messages": "none"}):
            with pytest.raises(ModelFailed, match="cannot take this request"):
                await answer(model, bad)
        assert await answer(model, ask("Hi", max_tokens=1))


@pytest.mark.parametrize("words", [["yes", "no"], ['say "no"', "a\\b", "caf\u00e9 \u2028 \U0001f600", "two\nlines"]])
async def test_a_choice_of_words_is_answered_with_one_of_them(model: Embedded, words: list[str]) -> None:
    with anyio.fail_after(10):
        for only in words:
            body = ask("Choose.", max_tokens=60, **shaped({"type": "string", "enum": [only]}))
            assert text_of(await answer(model, body)) == only
        body = ask("Choose.", max_tokens=60, **shaped({"type": "string", "enum": words}))
        assert text_of(await answer(model, body)) in words


async def test_the_engines_own_http_server_answers_nobody(model: Embedded, session: aiohttp.ClientSession) -> None:
    address = model._server.listening_address
    assert address.startswith("http://127.0.0.1:")
    with anyio.fail_after(10):
        async with session.post(f"{address}/v1/chat/completions", json=ask("Hi", max_tokens=1)) as response:
            assert response.status == 401


class Route(dspy.Signature):  # type: ignore[misc]  # dspy is untyped
    """Choose who answers."""

    task: str = dspy.InputField()
    agent: Literal["researcher", "writer"] = dspy.OutputField()
    difficulty: int = dspy.OutputField()


async def test_a_decision_through_dspy_obeys_its_signature(model: Embedded) -> None:
    with anyio.fail_after(10), dspy.context(lm=build_lm(model), adapter=dspy.JSONAdapter(), disable_history=True):
        decision = await dspy.Predict(Route).acall(task="Write a poem about the sea.")
    assert decision.agent in ("researcher", "writer")
    assert isinstance(decision.difficulty, int)


async def test_tools_are_dropped_and_that_is_said_once(weights: Weights, caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(10), caplog.at_level(logging.INFO):
        async with open_embedded(weights, threads=2, slots=1, context=512, queue=0) as model:
            for _ in range(2):
                assert await answer(model, ask("Hi", max_tokens=1, tools=[{"type": "function"}], tool_choice="auto"))
    assert [record.message for record in caplog.records] == [
        "the embedded model has no use for tool_choice, tools: dropped, now and later"
    ]


def test_every_answer_has_a_bound() -> None:
    bounds = [
        engine_request({"messages": [], "max_tokens": asked}, context=2048, small=True)["max_tokens"]
        for asked in (None, 20, 4096)
    ]
    assert bounds == [SMALL_MAX_TOKENS, 20, 1024]


async def test_twice_as_many_requests_as_slots_are_all_answered(model: Embedded) -> None:
    answers: dict[int, str] = {}

    async def one(number: int) -> None:
        with bind(run_id=f"run-{number % 3}"):
            answers[number] = text_of(await answer(model, ask(f"Say {number}.", max_tokens=4)))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(SLOTS + QUEUE):
                tasks.start_soon(one, number)
    assert all(answers[number] for number in range(SLOTS + QUEUE))


async def test_one_more_than_may_wait_is_refused_and_the_others_are_not_disturbed(model: Embedded) -> None:
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(SLOTS + QUEUE):
                tasks.start_soon(answer, model, ENDLESS)
                await wait_all_tasks_blocked()
            with pytest.raises(ModelBusy, match="busy"):
                await answer(model, ask("Hi"))
            tasks.cancel_scope.cancel()
        assert await answer(model, ask("Hi", max_tokens=1))


async def test_a_reader_that_leaves_in_mid_answer_frees_its_slot(model: Embedded) -> None:
    with anyio.fail_after(10):
        streams = [model.stream(ENDLESS) for _ in range(SLOTS)]
        for stream in streams:
            await anext(stream)
        waiting = model.stream(ask("Hi", max_tokens=1))
        await streams[0].aclose()
        assert await anext(waiting)
        for stream in (waiting, *streams):
            await stream.aclose()


async def test_a_reader_that_is_cancelled_frees_its_slot(model: Embedded) -> None:
    with anyio.fail_after(10):
        for _ in range(SLOTS + 1):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer, model, ENDLESS)
                await wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        assert await answer(model, ask("Hi", max_tokens=1))


async def test_a_cancelled_prompt_is_not_read_to_its_end(model: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next prompt is only read when the engine has let go of this one."""
    take = model._take

    def spy(job: Any, place: Any, data: bytes) -> bool:
        if (progress := json.loads(data).get("prompt_progress")) and progress["processed"]:
            a_piece_is_read.set()
        return take(job, place, data)

    monkeypatch.setattr(model, "_take", spy)
    with anyio.fail_after(5):
        for _ in range(3):
            a_piece_is_read = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer, model, UNREADABLE)
                await a_piece_is_read.wait()
                tasks.cancel_scope.cancel()
        assert await answer(model, ask("Hi", max_tokens=1))


async def close_in_mid_answer(weights: Weights) -> None:
    async with anyio.create_task_group() as tasks:
        async with open_embedded(weights, threads=2, slots=2, context=1024, queue=2) as model:

            async def read() -> None:
                with pytest.raises(ModelFailed, match="closed in mid-answer"):
                    await answer(model, ENDLESS)

            for _ in range(3):  # the third waits for a slot
                tasks.start_soon(read)
                await wait_all_tasks_blocked()
    with pytest.raises(ModelFailed, match="is closed"):
        await answer(model, ENDLESS)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux shows them")
async def test_closing_in_mid_answer_ends_it_at_once_and_leaves_no_thread(weights: Weights) -> None:
    async def in_a_loop_of_its_own() -> None:
        with anyio.fail_after(10):
            await to_thread.run_sync(anyio.run, close_in_mid_answer, weights)

    await in_a_loop_of_its_own()  # once before: the engine's own log thread stays for good
    before = set(os.listdir("/proc/self/task"))
    await in_a_loop_of_its_own()
    with anyio.fail_after(5):
        while set(os.listdir("/proc/self/task")) - before:
            await anyio.lowlevel.checkpoint()


async def test_a_file_that_is_no_model_is_refused_without_its_path(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    with pytest.raises(ModelFailed, match="weights of zeros cannot be used") as failed:
        async with open_embedded(await own_weights(path), threads=1, slots=1, context=512, queue=0):
            pass
    assert str(tmp_path) not in str(failed.value)


async def test_a_missing_engine_is_missed_with_advice(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelFailed, match=r"pip install -e '\.\[local\]'.*libgomp1"):
        async with open_embedded(weights, threads=1, slots=1, context=512, queue=0):
            pass

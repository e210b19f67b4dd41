"""How the door says no: always OpenAI's error object with the right status, never a 500, and never a run begun."""

import json
from typing import Any

import anyio
import httpx
import openai
import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.turns import Emit, Result, Turn
from tests.script import Paced, asking, echo, question, token
from tests.web.door.guest import guest, user
from tests.web.site import Site, site

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HI = [{"role": "user", "content": "hi"}]


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """The error object. It has the four keys that OpenAI's has."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    found: dict[str, Any] = body["error"]
    return found


BAD_CHATS: list[tuple[dict[str, Any], str | None]] = [
    ({}, "model"),
    ({"model": "fleet"}, "messages"),
    ({"model": 3, "messages": HI}, "model"),
    ({"model": "fleet", "messages": []}, "messages"),
    ({"model": "fleet", "messages": "hi"}, "messages"),
    ({"model": "fleet", "messages": [3]}, "messages[0]"),
    ({"model": "fleet", "messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"model": "fleet", "messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
    ({"model": "fleet", "messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"model": "fleet", "messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
    ({"model": "fleet", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0].type"),
    ({"model": "fleet", "messages": [{"role": "system", "content": "hi"}]}, "messages"),
    ({"model": "fleet", "messages": [{"role": "user"}]}, "messages[0].content"),
    ({"model": "fleet", "messages": [{"role": "user", "content": " \n"}]}, "messages[0].content"),
    ({"model": "fleet", "messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"model": "fleet", "messages": [*HI, {"role": "user", "content": "x" * 10_001}]}, "messages[1].content"),
    ({"model": "fleet", "messages": [*HI, {"role": "assistant", "content": "Once"}]}, "messages[1].content"),
    ({"model": "fleet", "messages": [*HI, {"role": "tool", "content": "42"}]}, "messages[1].content"),
    (
        {
            "model": "fleet",
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        },
        "messages[0].content[0].type",
    ),
    (
        {"model": "fleet", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        "messages[0].content[0].type",
    ),
    ({"model": "fleet", "messages": HI, "n": 2}, "n"),
    ({"model": "fleet", "messages": HI, "n": 0}, "n"),
    ({"model": "fleet", "messages": HI, "n": "1"}, "n"),
    ({"model": "fleet", "messages": HI, "stream": "yes"}, "stream"),
    ({"model": "fleet", "messages": HI, "stream_options": 1}, "stream_options"),
    ({"model": "fleet", "messages": HI, "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"model": "fleet", "messages": HI, "functions": [{"name": "f"}]}, "functions"),
    ({"model": "fleet", "messages": HI, "response_format": {"type": "json_object"}}, "response_format"),
    ({"model": "fleet", "messages": HI, "response_format": {"type": "json_schema"}}, "response_format"),
    ({"model": "fleet", "messages": HI, "response_format": 3}, "response_format"),
    ({"model": "fleet", "messages": HI, "modalities": ["text", "audio"]}, "modalities"),
    ({"model": "fleet", "messages": HI, "audio": {"voice": "x"}}, "audio"),
    ({"model": "fleet", "messages": HI, "logprobs": True}, "logprobs"),
    ({"model": "fleet", "messages": HI, "reasoning_effort": "very"}, "reasoning_effort"),
    ({"model": "fleet", "messages": HI, "reasoning_effort": 3}, "reasoning_effort"),
]

BAD_RESPONSES: list[tuple[dict[str, Any], str | None]] = [
    ({"model": "fleet"}, "input"),
    ({"model": "fleet", "input": ""}, "input"),
    ({"model": "fleet", "input": 3}, "input"),
    ({"model": "fleet", "input": []}, "input"),
    ({"model": "fleet", "input": [3]}, "input[0]"),
    ({"model": "fleet", "input": [{"content": "hi"}]}, "input[0].role"),
    ({"model": "fleet", "input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
    ({"model": "fleet", "input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
    ({"model": "fleet", "input": [*HI, {"type": "function_call_output", "call_id": "c", "output": "1"}]}, "input[1]"),
    ({"model": "fleet", "input": [*HI, {"role": "assistant", "content": "Once"}]}, "input[1].content"),
    ({"model": "fleet", "input": "hi", "tools": [{"type": "web_search"}]}, "tools"),
    ({"model": "fleet", "input": "hi", "text": {"format": {"type": "json_schema"}}}, "text.format"),
    ({"model": "fleet", "input": "hi", "text": {"format": 3}}, "text.format"),
    ({"model": "fleet", "input": "hi", "background": True}, "background"),
    ({"model": "fleet", "input": "hi", "conversation": "c"}, "conversation"),
    ({"model": "fleet", "input": "hi", "prompt": {"id": "p"}}, "prompt"),
    ({"model": "fleet", "input": "hi", "instructions": 3}, "instructions"),
    ({"model": "fleet", "input": "hi", "previous_response_id": 3}, "previous_response_id"),
    ({"model": "fleet", "input": "hi", "reasoning": {"effort": "very"}}, "reasoning.effort"),
    ({"model": "fleet", "input": "hi", "reasoning": "high"}, "reasoning"),
]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [*((CHAT, *bad) for bad in BAD_CHATS), *((RESPONSES, *bad) for bad in BAD_RESPONSES)],
)
async def test_a_bad_request_is_refused_with_the_name_of_what_is_wrong(
    path: str, body: dict[str, Any], param: str | None
) -> None:
    async with site() as it:
        for streamed in ({}, {"stream": True}):
            answer = await it.http.post(path, json=streamed | body)
            assert answer.status_code == 400
            assert (refusal(answer)["type"], refusal(answer)["param"]) == ("invalid_request_error", param)
            assert "x-run-id" not in answer.headers
        assert it.script.turns == []


@pytest.mark.parametrize(
    ("content", "type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'"hi"', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b'{"model":"fleet","messages":[{"role":"user","content":"\\ud83d"}]}', "application/json", 400),
        (b'{"model":"fleet","messages":[{"role":"user","content":NaN}]}', "application/json", 400),
        (b'{"model":"fleet"}', "text/plain", 415),
        (b'{"model":"' + b"x" * 300_000 + b'"}', "application/json", 413),
    ],
)
async def test_what_is_no_request_is_refused(content: bytes, type: str, status: int) -> None:
    async with site() as it:
        for path in (CHAT, RESPONSES):
            answer = await it.http.post(path, content=content, headers={"content-type": type})
            assert answer.status_code == status
            assert refusal(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1", 404),
        ("GET", "/v1/", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/fleet/../x", 404),
        ("GET", CHAT, 405),
        ("DELETE", RESPONSES, 405),
        ("POST", "/v1/models", 405),
    ],
)
async def test_whatever_the_router_refuses_is_told_in_the_same_words(method: str, path: str, status: int) -> None:
    async with site() as it:
        answer = await it.http.request(method, path)
        assert answer.status_code == status
        assert refusal(answer)["type"] == "invalid_request_error"
        assert ("allow" in answer.headers) is (status == 405)


async def test_what_the_gate_refuses_is_told_in_the_same_words() -> None:
    async with site() as it:
        answer = await it.http.post(CHAT, json={}, headers={"origin": "https://elsewhere.example"})
        assert (answer.status_code, refusal(answer)["type"]) == (403, "permission_error")


async def test_the_rest_of_the_service_still_speaks_of_problems() -> None:
    async with site() as it:
        for path in ("/api/v1/runs/nobody", "/v1x/models", "/api/v1/v1/models"):
            answer = await it.http.get(path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == 404


async def test_a_full_service_says_when_to_come_again() -> None:
    async with site(script := Paced(), max_runs=1) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        for streamed in (False, True):
            answer = await it.http.post(CHAT, json={"model": "fleet", "messages": HI, "stream": streamed})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert refusal(answer)["type"] == "server_error"
        await stream.close()
        await script.left.wait()
        await it.runs.idle()
        it.runs.draining = True
        answer = await it.http.post(RESPONSES, json={"model": "fleet", "input": "hi"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_all_places_for_streams_being_taken_is_a_refusal_too() -> None:
    async with site(Paced(), max_streams=1) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="fleet", messages=user("hi"))
        assert caught.value.status_code == 503
        await stream.close()


async def failing(turn: Turn, emit: Emit) -> Result:
    await emit(token("Well, "))
    raise ModelFailed("The model endpoint cannot be reached.")


async def test_a_failed_model_is_a_bad_gateway_that_is_not_worth_a_retry() -> None:
    async with site(failing) as it:
        for path, body in ((CHAT, {"messages": HI}), (RESPONSES, {"input": "hi"})):
            answer = await it.http.post(path, json={"model": "fleet", **body})
            assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
            error = refusal(answer)
            assert (error["code"], error["message"]) == ("run_failed", "The model endpoint cannot be reached.")
            assert (await it.get(f"/api/v1/runs/{answer.headers['x-run-id']}"))["status"] == "failed"
        client = openai.AsyncOpenAI(api_key="x", base_url=f"{it.url}/v1", http_client=it.http, max_retries=2)
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="fleet", messages=user("hi"))
        assert len(it.script.turns) == 3


async def test_a_model_that_fails_in_mid_stream_raises_at_the_client() -> None:
    async with site(failing) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        assert [(await anext(stream)).choices[0].delta.content for _ in range(2)] == ["", "Well, "]
        with pytest.raises(openai.APIError, match="cannot be reached"):
            await anext(stream)


async def cancelled_meanwhile(it: Site, streamed: bool, script: Paced) -> httpx.Response:
    """What a client hears whose run is cancelled by somebody else."""
    heard: list[httpx.Response] = []

    async def ask() -> None:
        body = {"model": "fleet", "messages": HI, "stream": streamed}
        heard.append(await it.http.post(CHAT, json=body))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await script.started.wait()
        (run,) = await it.get("/api/v1/runs")
        await it.runs.cancel(run["run_id"])
    return heard[0]


async def test_a_run_that_somebody_cancels_gives_no_answer() -> None:
    async with site(script := Paced()) as it:
        answer = await cancelled_meanwhile(it, False, script)
        assert (answer.status_code, refusal(answer)["code"]) == (409, "run_cancelled")
    async with site(script := Paced()) as it:
        answer = await cancelled_meanwhile(it, True, script)
        *_, last, rest = answer.text.split("\n\n")
        assert (json.loads(last[6:])["error"]["code"], rest) == ("run_cancelled", "")


async def test_a_question_to_a_human_ends_the_answer_and_says_where_to_answer() -> None:
    async with site(asking(question("q1"))) as it:
        client = guest(it)
        with pytest.raises(openai.ConflictError) as caught:
            await client.chat.completions.create(model="fleet", messages=user("hi"))
        assert caught.value.code == "human_input_required"
        assert caught.value.response.headers["x-should-retry"] == "false"
        run_id = caught.value.response.headers["x-run-id"]
        for part in ("User input required", "Which colour?", '"q1"', f"/api/v1/runs/{run_id}/responses"):
            assert part in str(caught.value)
        assert (await it.get(f"/api/v1/runs/{run_id}"))["status"] == "waiting"
        answered = await it.http.post(
            f"/api/v1/runs/{run_id}/responses", json={"request_id": "q1", "response": "Blue."}
        )
        assert answered.status_code == 200
        await it.runs.idle()
        it.script.act = echo
        response = await client.responses.create(model="fleet", input="and?", previous_response_id=f"resp_{run_id}")
        assert [message.content for message in it.script.turns[-1].history] == ["hi", "Thinking. Blue."]
        assert response.status == "completed"


async def test_a_question_to_a_human_ends_a_stream_at_once() -> None:
    async with site(asking(question("q1"))) as it:
        client = guest(it)
        stream = await client.chat.completions.create(model="fleet", messages=user("hi"), stream=True)
        with pytest.raises(openai.APIError, match="/api/v1/runs/.*/responses"):
            async for _ in stream:
                pass
        events = await client.responses.create(model="fleet", input="hi", stream=True)
        *_, last = [event async for event in events]
        assert last.type == "response.failed" and last.response.error
        assert "Which colour?" in last.response.error.message
        assert {run["status"] for run in await it.get("/api/v1/runs")} == {"waiting"}

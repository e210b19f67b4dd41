"""A scripted model's own behaviour, seen by clients that are not ours: the other tests rest on it."""

import json

import anyio
import httpx

from agentic_fleet.testing import Reply, ScriptedModel, answer


def ask(text: str, **more: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def test_it_repeats_the_question_whole_or_in_tokens(fake: ScriptedModel) -> None:
    async with httpx.AsyncClient(base_url=fake.base_url) as client:
        whole = await client.post("/chat/completions", json=ask("a red fox"))
        stream = await client.post("/chat/completions", json=ask("a red fox", stream=True))
    assert whole.json()["choices"][0]["message"]["content"] == "Re: a red fox"
    lines = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert [token for token in deltas if token] == ["Re", ": ", "a ", "red ", "fox"]
    assert [call.state for call in fake.calls] == ["finished", "finished"]


async def test_it_sees_a_client_leave_in_mid_stream(fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a", "b", "c"], hold_after=(2, anyio.Event()))
    async with httpx.AsyncClient(base_url=fake.base_url) as client:
        async with client.stream("POST", "/chat/completions", json=ask("hi", stream=True)):
            await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 2)
    await fake.settled()
    assert (fake.hangups, fake.open, fake.calls[0].state) == (1, 0, "hung_up")


async def test_it_answers_at_azures_path(fake: ScriptedModel) -> None:
    async with httpx.AsyncClient(base_url=fake.url) as client:
        path = "/openai/deployments/team/chat/completions?api-version=2024-10-21"
        response = await client.post(path, json=ask("hi"), headers={"api-key": "k"})
    assert response.status_code == 200
    assert (fake.calls[0].path, fake.calls[0].headers["api-key"]) == (path, "k")


async def test_leaving_lets_go_of_what_is_held() -> None:
    with anyio.fail_after(10):
        async with httpx.AsyncClient() as client:
            async with anyio.create_task_group() as tasks:
                async with ScriptedModel(lambda body: Reply(tokens=["a"], hold_before=anyio.Event())) as fake:
                    tasks.start_soon(lambda: client.post(f"{fake.base_url}/chat/completions", json=ask("hi")))
                    await fake.wait_for(lambda: fake.open == 1)
    assert fake.calls[0].state == "finished"


def test_a_decision_gets_the_least_json_its_schema_allows() -> None:
    schema = {
        "type": "object",
        "properties": {
            "mode": {"enum": ["fast", "slow"]},
            "score": {"type": "integer", "minimum": 3},
            "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}},
        },
        "$defs": {"Step": {"type": "object", "properties": {"task": {"type": "string"}}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}}
    reply = answer({"messages": [], "response_format": wanted})
    assert json.loads("".join(reply.tokens)) == {"mode": "fast", "score": 9, "steps": [{"task": "ok"}]}

"""What a scripted model says to whom: texts, lists, functions, and what goes wrong with them."""

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from agentic_fleet.testing import Body, Reply, ScriptedModel, ScriptUsedUp, blocking, decision

SCHEMA = {"type": "object", "properties": {"mode": {"enum": ["fast", "slow"]}, "score": {"type": "integer"}}}
DECIDE = {"response_format": {"type": "json_schema", "json_schema": {"name": "plan", "schema": SCHEMA}}}


def ask(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def say(model: ScriptedModel, **more: Any) -> str:
    """What it answers, or the status and the message with which it refuses."""
    answer = httpx.post(f"{model.base_url}/chat/completions", json=ask(**more), trust_env=False)
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.json()['error']['message']}"
    return str(answer.json()["choices"][0]["message"]["content"])


def test_a_text_answers_every_call_but_decisions() -> None:
    with ScriptedModel("Hello there") as model:
        assert [say(model), say(model, **DECIDE), say(model)] == [
            "Hello there",
            '{"mode":"fast","score":9}',
            "Hello there",
        ]
        assert [call.is_decision for call in model.calls] == [False, True, False]
        assert model.calls[0].prompt == "hi"


def test_a_list_answers_one_call_each_and_decisions_take_nothing_from_it() -> None:
    with ScriptedModel(["one", Reply("two"), Reply(status=503)]) as model:
        said = [say(model), say(model, **DECIDE), say(model), say(model)]
    assert said == ["one", '{"mode":"fast","score":9}', "two", "503 no"]


def test_a_call_too_many_is_refused_and_told_when_the_block_is_left() -> None:
    with pytest.raises(ScriptUsedUp, match="its replies .1. are given, and this is call 2"):
        with ScriptedModel(["one"]) as model:
            said = [say(model), say(model), say(model)]
    assert said[0] == "one"
    assert said[1].startswith("400 The script is used up")
    assert said[2].startswith("400 ")


async def test_a_call_too_many_is_noted_on_the_exception_that_leaves_the_block() -> None:
    with pytest.raises(ZeroDivisionError) as left:
        async with ScriptedModel([]) as model, httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"{model.base_url}/chat/completions", json=ask())
            raise ZeroDivisionError
    assert "The script is used up" in left.value.__notes__[0]


def test_a_function_sees_every_call_and_may_leave_it_to_the_default() -> None:
    def script(body: Body) -> Reply | str | None:
        if "response_format" in body:
            return decision(body, mode="slow", agent="nobody")
        return "Hello" if body["messages"][0]["content"] == "hi" else None

    with ScriptedModel(script) as model:
        assert [say(model), say(model, text="what else"), say(model, **DECIDE)] == [
            "Hello",
            "Re: what else",
            '{"mode":"slow","score":9}',
        ]


def test_a_function_that_fails_fails_the_test() -> None:
    def script(body: Body) -> str:
        raise LookupError("no such line")

    with pytest.raises(LookupError, match="no such line"), ScriptedModel(script) as model:
        assert say(model) == "400 no such line"


def test_the_script_may_be_changed_while_it_runs() -> None:
    with ScriptedModel("one") as model:
        first = say(model)
        model.reply = ["two"]
        assert [first, say(model)] == ["one", "two"]


def test_a_reply_is_a_text_or_tokens() -> None:
    assert Reply("a b c").tokens == ["a ", "b ", "c"]
    with pytest.raises(ValueError, match="not both"):
        Reply("a", tokens=["b"])


def test_the_arguments_of_a_tool_call_may_be_a_mapping() -> None:
    with ScriptedModel(Reply(tool_calls=[("note", {"text": "milk"})])) as model:
        answer = httpx.post(f"{model.base_url}/chat/completions", json=ask(), trust_env=False).json()
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "note", "arguments": '{"text":"milk"}'}


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_reply_that_hangs_goes_on_when_it_is_released(after: int) -> None:
    said: list[str] = []

    async def read(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            said.append((await client.post(url, json=ask(stream=True))).text)

    with ScriptedModel(Reply("a b c", hang_after=after)) as model:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, f"{model.base_url}/chat/completions")
            await model.wait_for(lambda: model.open == 1 and model.calls[0].tokens_sent == after)
            assert said == []
            model.release()
        await model.settled()
    assert "data: [DONE]" in said[0]
    assert model.hangups == 0


HOURS = 3600.0


@pytest.mark.parametrize("reply", [Reply("a b", pause=HOURS), Reply("a b", hang_after=0)])
async def test_a_client_that_leaves_during_a_pause_has_hung_up(reply: Reply) -> None:
    async with ScriptedModel(reply) as model, httpx.AsyncClient(trust_env=False) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.post(f"{model.base_url}/chat/completions", json=ask(stream=True)))
            await model.wait_for(lambda: model.open == 1)
            tasks.cancel_scope.cancel()
        await model.settled()
        assert (model.hangups, model.calls[0].tokens_sent) == (1, 0)


def test_leaving_the_block_ends_what_hangs() -> None:
    with anyio.from_thread.start_blocking_portal() as portal:
        with ScriptedModel(Reply("a", hang_after=0)) as model:
            asked = portal.start_task_soon(_post, f"{model.base_url}/chat/completions")
            portal.call(model.wait_for, lambda: model.open == 1)
        assert asked.result(10) == 200


async def _post(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(url, json=ask())).status_code


def test_a_wait_for_what_never_happens_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentic_fleet.testing.model.PATIENCE", 0.01)
    never: Callable[[], bool] = lambda: False  # noqa: E731
    with ScriptedModel() as model, pytest.raises(TimeoutError):
        blocking(model.wait_for, never)

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, Literal

import anyio
import dspy
import pytest
from dspy import lm15

from agentic_fleet.errors import ModelFailed
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import build_lm, configure_dspy

CHOICE = {"name": "choice", "schema": {"type": "string", "enum": ["left", "right"]}, "strict": True}


class Plan(dspy.Signature):  # type: ignore[misc]  # dspy has no types
    """Plan the task."""

    task: str = dspy.InputField()
    mode: Literal["fast", "slow"] = dspy.OutputField()
    score: int = dspy.OutputField()


@pytest.fixture(autouse=True)
def configured() -> None:
    configure_dspy()


@pytest.fixture
async def lm(endpoint: Endpoint) -> AsyncIterator[Any]:
    lm = build_lm(endpoint)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        yield lm


async def test_a_decision_is_made_by_a_schema(lm: Any, fake: ScriptedModel) -> None:
    plan = await dspy.Predict(Plan).acall(task="paint the shed")
    assert (plan.mode, plan.score) == ("fast", 9)
    (call,) = fake.calls
    assert call.body["response_format"]["json_schema"]["schema"]["required"] == ["mode", "score"]
    assert call.body["response_format"]["json_schema"]["strict"] is True
    assert (call.body["temperature"], call.body["model"]) == (0.0, "m-1")
    assert [message["role"] for message in call.body["messages"]] == ["system", "user"]
    assert "paint the shed" in call.body["messages"][1]["content"]


async def test_a_bare_choice_reaches_the_model_as_it_is(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["ri", "ght"])
    config = lm15.Config(response_format={"type": "json_schema", **CHOICE}, stop=(".",), seed=1)
    messages = (lm15.Message.user("Which?"),)
    lm = build_lm(endpoint)
    response = await lm.acall(lm15.Request(model=lm.model, system="Choose.", messages=messages, config=config))
    assert response.text == "right"
    body = fake.calls[0].body
    assert body["messages"] == [{"role": "system", "content": "Choose."}, {"role": "user", "content": "Which?"}]
    assert body["response_format"] == {"type": "json_schema", "json_schema": CHOICE}
    assert (body["stop"], body["seed"]) == (["."], 1)


async def test_a_model_without_schemas_is_asked_in_words(lm: Any, endpoint: Endpoint, fake: ScriptedModel) -> None:
    endpoint.constrained = False  # may be learnt at any time
    fake.reply = lambda body: Reply(tokens=['{"mode": "slow", "score": 3}'])
    assert (await dspy.Predict(Plan).acall(task="x")).mode == "slow"
    assert [call.body.get("response_format") for call in fake.calls] == [None]


async def test_an_answer_without_a_word_fails_the_decision_only(lm: Any, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply()
    with pytest.raises(dspy.AdapterParseError):
        await dspy.Predict(Plan).acall(task="x")


async def test_tokens_are_counted_and_an_answer_that_was_cut_says_so(endpoint: Endpoint, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(tokens=["a"], finish_reason="length", usage=(5, 1))
    lm = build_lm(endpoint)
    response = await lm.acall(lm15.Request(model=lm.model, messages=(lm15.Message.user("hi"),)))
    assert (response.finish_reason, response.usage.input_tokens, response.usage.output_tokens) == ("length", 5, 1)


async def test_a_failed_model_is_the_cause_of_the_failed_decision(lm: Any, fake: ScriptedModel) -> None:
    fake.reply = lambda body: Reply(status=401)
    with pytest.raises(dspy.LMUnexpectedError) as failure:
        await dspy.Predict(Plan).acall(task="x")
    assert isinstance(failure.value.__cause__, ModelFailed)
    assert len(fake.calls) == 1


async def test_a_call_that_would_block_the_loop_is_refused(lm: Any) -> None:
    with pytest.raises(dspy.LMUnexpectedError, match="acall"):
        dspy.Predict(Plan)(task="x")


async def test_tools_are_refused(endpoint: Endpoint) -> None:
    lm = build_lm(endpoint)
    tool = lm15.FunctionTool(name="f")
    with pytest.raises(dspy.LMUnsupportedFeatureError):
        await lm.acall(lm15.Request(model=lm.model, messages=(lm15.Message.user("hi"),), tools=(tool,)))


async def test_nothing_of_a_call_is_kept(lm: Any) -> None:
    predict = dspy.Predict(Plan)
    await predict.acall(task="x")
    assert (predict.history, lm.history, dspy.settings.trace) == ([], [], None)


async def test_any_task_may_configure_dspy_again() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, configure_dspy)


@pytest.mark.parametrize("decisions", [1, 20])
async def test_a_cancelled_decision_hangs_up(decisions: int, lm: Any, fake: ScriptedModel) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["{", "}"], hold_after=(1, held))
    predict = dspy.Predict(Plan)

    async def decide(task: str) -> None:
        await predict.acall(task=task)

    async with anyio.create_task_group() as tasks:
        for number in range(decisions):
            tasks.start_soon(decide, str(number))
        await fake.wait_for(lambda: [call.tokens_sent for call in fake.calls] == [1] * decisions)
        tasks.cancel_scope.cancel()
    await fake.settled()
    assert (fake.hangups, fake.open) == (decisions, 0)


def test_litellm_is_not_loaded_by_a_decision() -> None:
    """In a process of its own: a module once loaded stays."""
    program = """
import sys
import anyio, dspy
from agentic_fleet.workflows.lm import build_lm, configure_dspy

class Left:
    name, constrained = "left", True
    async def stream(self, body):
        yield {"choices": [{"delta": {"content": '{"side": "left"}'}, "finish_reason": "stop"}]}

async def decide():
    with dspy.context(lm=build_lm(Left()), adapter=dspy.JSONAdapter()):
        print((await dspy.Predict("question -> side").acall(question="Which?")).side)

configure_dspy()
anyio.run(decide)
print(sorted({"litellm", "openai"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["left", "[]"]

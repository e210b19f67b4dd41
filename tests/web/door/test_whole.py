"""The whole path: the official client, the door, the real fleet, and a model behind real HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import openai
import pytest

from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.turns import RunStatus
from agentic_fleet.workflows.endpoint import Endpoint, open_session
from tests.web.door.guest import content, guest, user
from tests.web.site import site
from tests.workflows.conftest import endpoint_to
from tests.workflows.team import TASK, Script, decision, fleet_over, paying_fleet, plan, says
from tests.workflows.test_refinement import Rounds


@pytest.fixture
async def endpoint(fake: ScriptedModel) -> AsyncIterator[Endpoint]:
    async with open_session() as session:
        yield endpoint_to(f"{fake.base_url}/chat/completions", session)


class Talk:
    """Decides soundly; every agent says `words`. Each call costs 10 tokens and gives 3."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.systems: list[str] = []  # what the agents were told to be
        self.prompts: list[list[str]] = []

    def __call__(self, body: Body) -> Reply:
        if decision(body):
            script = Script(plan=plan("sequential", "researcher", "writer"))
            return says(*script(body).tokens, usage=(10, 3))
        system, *rest = body["messages"]
        self.systems.append(system["content"])
        self.prompts.append([message["content"] for message in rest])
        return says(*self.words, usage=(10, 3))


@pytest.mark.parametrize("mode", ["auto", "fast", "delegated", "sequential", "parallel", "handoff", "discussion"])
async def test_in_every_mode_the_stream_is_the_answer_and_its_cost_is_known(
    fake: ScriptedModel, endpoint: Endpoint, mode: str
) -> None:
    fake.reply = talk = Talk("Tides", " are", " long\u2028waves.")
    async with site(workflow=fleet_over(endpoint)) as it:
        client = guest(it)
        messages: Any = [
            {"role": "system", "content": "Speak like a pirate."},
            *user("I am Ada."),
            {"role": "assistant", "content": "Ahoy."},
            *user(TASK),
        ]
        stream = await client.chat.completions.create(
            model=f"fleet/{mode}", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        *chunks, bill = [chunk async for chunk in stream]
        assert content(chunks) == "Tides are long\u2028waves."
        run = await it.get(f"/api/v1/runs/{stream.response.headers['x-run-id']}")
        assert (run["status"], run["mode"]) == ("completed", mode)
        kept = await it.store.messages(run["conversation_id"], limit=1)
        assert kept[0].content == content(chunks)
        assert bill.usage and (bill.usage.prompt_tokens, bill.usage.completion_tokens) == (
            10 * len(fake.calls),
            3 * len(fake.calls),
        )
        assert talk.systems and all(system.endswith("\nSpeak like a pirate.") for system in talk.systems)
        assert all(prompt[:2] == ["I am Ada.", "Ahoy."] for prompt in talk.prompts)


async def test_a_response_goes_on_with_what_the_team_had_said(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = talk = Talk("Long waves.")
    async with site(workflow=fleet_over(endpoint)) as it:
        client = guest(it)
        first = await client.responses.create(model="fleet/fast", input="What are tides?")
        async with client.responses.stream(
            model="fleet/fast", input="And ebb?", previous_response_id=first.id
        ) as stream:
            second = await stream.get_final_response()
        assert second.output_text == "Long waves."
        assert talk.prompts[-1] == ["What are tides?", "Long waves.", "And ebb?"]
        assert second.usage and second.usage.total_tokens == 13


async def test_what_is_streamed_is_not_refined_and_what_is_not_is(fake: ScriptedModel, endpoint: Endpoint) -> None:
    async with site(workflow=fleet_over(endpoint)) as it:
        client = guest(it)
        fake.reply = rounds = Rounds(["Tides| are."], [3])
        stream = await client.chat.completions.create(model="fleet", messages=user(TASK), stream=True)
        assert content([chunk async for chunk in stream]) == "Tides are."
        assert len(rounds.asked) == 1
        fake.reply = rounds = Rounds(["Tides| are.", "O| moon!"], [3, 8])
        whole = await client.chat.completions.create(model="fleet", messages=user(TASK))
        assert whole.choices[0].message.content == "O moon!"
        assert len(rounds.asked) == 2


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_hangs_up_on_the_model(
    fake: ScriptedModel, endpoint: Endpoint, streamed: bool
) -> None:
    fake.reply = lambda body: says("Once", " upon", hold_after=(1, anyio.Event()))
    async with site(workflow=fleet_over(endpoint)) as it:

        async def ask() -> None:
            body = {"model": "fleet/fast", "messages": user("hi"), "stream": streamed}
            await it.http.post("/v1/chat/completions", json=body)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await fake.wait_for(lambda: [call.tokens_sent for call in fake.calls] == [1])
            tasks.cancel_scope.cancel()
        await fake.wait_for(lambda: fake.hangups == 1)
        await it.runs.idle()
        (run,) = await it.store.runs(limit=9)
        assert run.status is RunStatus.CANCELLED


async def test_a_model_that_refuses_is_a_bad_gateway(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: Reply(status=401, error={"message": "no such key"})
    async with site(workflow=fleet_over(endpoint)) as it:
        with pytest.raises(openai.InternalServerError) as caught:
            await guest(it).chat.completions.create(model="fleet/fast", messages=user("hi"))
        assert (caught.value.status_code, caught.value.code) == (502, "run_failed")


async def test_a_tool_that_needs_a_human_is_told_and_can_be_approved_elsewhere(
    fake: ScriptedModel, endpoint: Endpoint
) -> None:
    def reply(body: Body) -> Reply:
        told = [message for message in body["messages"] if message["role"] == "tool"]
        return says(f"It says: {told[0]['content']}") if told else Reply(tool_calls=[("pay", '{"amount": 5}')])

    fake.reply = reply
    async with paying_fleet(endpoint) as fleet, site(workflow=fleet) as it:
        with pytest.raises(openai.ConflictError) as caught:
            await guest(it).chat.completions.create(model="fleet/fast", messages=user("Pay 5 euros"))
        assert caught.value.code == "human_input_required"
        assert '"amount":5' in str(caught.value)
        run_id = caught.value.response.headers["x-run-id"]
        (request,) = (await it.get(f"/api/v1/runs/{run_id}"))["pending_requests"]
        said = {"request_id": request["request_id"], "response": {"approved": True}}
        assert (await it.http.post(f"/api/v1/runs/{run_id}/responses", json=said)).status_code == 200
        events = await it.read(f"/api/v1/runs/{run_id}/events")
        assert events[-2]["message"] == "It says: paid 5"
        assert json.dumps(events[-2]).count("usage") == 0  # the second turn does not know what the first one cost

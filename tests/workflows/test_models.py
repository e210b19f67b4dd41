"""Which model answers, and what is said while none can."""

import logging
import sys
import threading
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import aiohttp
import anyio
import pytest
from agent_framework import Message

from agentic_fleet.errors import BadSetting, ModelFailed
from agentic_fleet.settings import Settings
from agentic_fleet.testing import ScriptedModel
from agentic_fleet.workflows import models
from agentic_fleet.workflows.azure import SignedIn, Tokens
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.desk import Desk, at
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import configure_dspy
from agentic_fleet.workflows.models import Loading, open_model
from tests.workflows.team import Notebook, Screen, turn

KEY = "sk-secret"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0}


async def answer(completions: Completions) -> str:
    async with aclosing(completions.stream(HELLO)) as chunks:
        return "".join([choice["delta"].get("content") or "" async for chunk in chunks for choice in chunk["choices"]])


async def test_without_settings_the_embedded_model_answers_those_who_come_while_it_is_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with anyio.fail_after(10), caplog.at_level(logging.INFO):
        async with open_model(Settings(model_slots=1, model_context=512)) as model:
            assert model.check().status == "starting"
            assert await answer(model.completions)
            assert (model.name, model.provider, model.small) == (
                "SmolLM2-135M-Instruct (embedded, small)",
                "embedded",
                True,
            )
            assert model.check().status == "ok"
            assert model.check().detail == (
                "SmolLM2-135M-Instruct answers, embedded and small: expect drafts, not knowledge"
            )
            response = await model.chat.get_response([Message("user", ["Hello"])], options={"max_tokens": 4})
            assert response.text
    assert [record.message for record in caplog.records] == [f"model: {model.check().detail}"]


async def test_leaving_while_the_model_is_loaded_ends_at_once() -> None:
    with anyio.fail_after(10):
        async with open_model(Settings()) as model:
            pass
        assert model.check().status == "starting"


async def test_weights_that_cannot_be_loaded_fail_the_answers_and_not_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken-7b.gguf"
    path.write_bytes(b"GGUF, and nothing that follows")
    with anyio.fail_after(10):
        async with open_model(Settings(model=str(path))) as model:
            for _ in range(2):
                with pytest.raises(ModelFailed, match="weights of broken-7b cannot be used"):
                    await answer(model.completions)
            check = model.check()
    assert check.status == "failed"
    assert check.detail in caplog.text
    assert str(tmp_path) not in caplog.text + check.detail


async def test_a_missing_file_is_named() -> None:
    with anyio.fail_after(10):
        async with open_model(Settings(model="nowhere/mine.gguf", openai_api_key=KEY)) as model:
            assert (model.name, model.provider) == ("mine (embedded, small)", "embedded")
            with pytest.raises(ModelFailed, match=r"there is no file mine.gguf"):
                await answer(model.completions)


async def test_who_asks_while_weights_are_loaded_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "LOADING_TIMEOUT", 0)
    with anyio.fail_after(5), pytest.raises(ModelFailed, match="SmolLM2-135M-Instruct is still being loaded"):
        await answer(Loading(Settings()))


async def test_a_model_name_and_an_endpoint_are_used_and_not_called_before_they_are_needed(
    fake: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(model="gpt-x", openai_base_url=f"{fake.base_url}/", openai_api_key=KEY, azure_endpoint=None)
    with anyio.fail_after(10), caplog.at_level(logging.INFO):
        async with open_model(settings) as model:
            assert (model.name, model.provider, model.small) == ("gpt-x", "openai", False)
            assert model.check().status == "ok"
            assert model.check().detail == "gpt-x at 127.0.0.1 is asked when a run needs it"
            assert not fake.calls
            assert "Hello" in await answer(model.completions)
            assert model.check().detail == "gpt-x at 127.0.0.1 answered the last request"
    assert fake.calls[0].path == "/v1/chat/completions"
    assert fake.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert fake.calls[0].body["model"] == "gpt-x"
    assert "model: gpt-x at 127.0.0.1" in caplog.messages
    assert KEY not in caplog.text + model.check().detail


async def test_a_local_endpoint_needs_no_key(fake: ScriptedModel) -> None:
    with anyio.fail_after(10):
        async with open_model(Settings(model="local", openai_base_url=fake.base_url)) as model:
            assert "Hello" in await answer(model.completions)
    assert "authorization" not in fake.calls[0].headers


async def test_a_model_name_and_a_key_alone_mean_openai() -> None:
    async with open_model(Settings(model="gpt-x", openai_api_key=KEY)) as model:
        assert model.check().detail.startswith("gpt-x at api.openai.com")


async def test_azure_is_asked_by_deployment(fake: ScriptedModel) -> None:
    settings = Settings(azure_endpoint=f"{fake.url}/", azure_api_key=KEY, azure_deployment="my gpt")
    with anyio.fail_after(10):
        async with open_model(settings) as model:
            assert (model.name, model.provider) == ("my gpt", "azure")
            assert "Hello" in await answer(model.completions)
    assert fake.calls[0].path == "/openai/deployments/my gpt/chat/completions?api-version=2024-10-21"
    assert fake.calls[0].headers["api-key"] == KEY
    assert "authorization" not in fake.calls[0].headers


async def test_another_model_at_the_same_endpoint_is_asked_by_its_name(fake: ScriptedModel) -> None:
    settings = Settings(model="gpt-x", openai_base_url=fake.base_url, openai_api_key=KEY)
    with anyio.fail_after(10):
        async with open_model(settings) as model:
            response = await model.named("gpt-y").get_response([Message("user", ["Hello"])])
            assert model.named("gpt-x") is model.chat
    assert "Hello" in response.text
    assert fake.calls[0].body["model"] == "gpt-y"
    assert fake.calls[0].headers["authorization"] == f"Bearer {KEY}"


async def test_another_model_of_azure_is_another_deployment(fake: ScriptedModel) -> None:
    settings = Settings(azure_endpoint=fake.url, azure_api_key=KEY, azure_deployment="one")
    with anyio.fail_after(10):
        async with open_model(settings) as model:
            await model.named("two").get_response([Message("user", ["Hello"])])
    assert fake.calls[0].path.startswith("/openai/deployments/two/chat/completions?")


async def test_agents_and_decisions_get_the_answers_that_a_run_has_had_without_a_call(fake: ScriptedModel) -> None:
    memory = Notebook()
    configure_dspy()
    with anyio.fail_after(10):
        async with open_model(Settings(model="m", openai_base_url=fake.base_url)) as model:
            for _ in range(2):
                with at(Desk(turn(memory=memory), Screen())):
                    response = await model.chat.get_response([Message("user", ["Hello"])])
                    assert response.text == "Re: Hello"
                    assert await model.lm.acall("How good is it?") == ["Re: How good is it?"]
                    await model.named("other").get_response([Message("user", ["Good night"])])
    assert len(fake.calls) == 3


class Clock:
    """Time as a test likes it, and a credential whose tokens last an hour of it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.scopes: list[str] = []
        self.threads: set[int] = set()

    def get_token(self, *scopes: str) -> "Clock.Token":
        self.scopes += scopes
        self.threads.add(threading.get_ident())
        return Clock.Token(token=f"token-{len(self.scopes)}", expires_on=int(self.now) + 3600)

    @dataclass(frozen=True)
    class Token:
        token: str
        expires_on: int


def signed_in(fake: ScriptedModel, session: aiohttp.ClientSession, tokens: Tokens) -> SignedIn:
    def endpoint(headers: Mapping[str, str]) -> Endpoint:
        url = f"{fake.base_url}/chat/completions"
        return Endpoint(session, url=url, headers=headers, model="m", name="m", timeout=30)

    return SignedIn(tokens, endpoint)


async def test_without_a_key_a_token_signs_in_and_is_replaced_before_it_ends(
    fake: ScriptedModel, session: aiohttp.ClientSession
) -> None:
    clock = Clock()
    completions = signed_in(fake, session, Tokens(clock, lambda: clock.now))
    with anyio.fail_after(10):
        for later in (0, 3_299, 2):
            clock.now += later
            assert "Hello" in await answer(completions)
    sent = [call.headers["authorization"] for call in fake.calls]
    assert sent == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    assert set(clock.scopes) == {"https://cognitiveservices.azure.com/.default"}
    assert threading.get_ident() not in clock.threads
    assert completions.name == "m"
    assert completions.constrained


async def test_those_who_come_together_get_one_token(fake: ScriptedModel, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    completions = signed_in(fake, session, Tokens(clock, lambda: clock.now))
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(answer, completions)
    assert (len(clock.scopes), len(fake.calls)) == (1, 5)


async def test_a_credential_that_fails_fails_the_answer_with_a_text_that_is_safe_to_show(
    fake: ScriptedModel, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Clock):
        def get_token(self, *scopes: str) -> Clock.Token:
            raise OSError("tenant 1234 is unknown")

    with anyio.fail_after(10), pytest.raises(ModelFailed, match=r"^The service could not sign in to the model\.$"):
        await answer(signed_in(fake, session, Tokens(Broken())))
    assert "no Azure token: OSError" in caplog.text
    assert "1234" not in caplog.text
    assert not fake.calls


async def test_azure_without_a_key_takes_the_identity_that_azure_identity_finds(
    fake: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the package: what it finds depends on the machine."""
    package = ModuleType("azure.identity")
    package.DefaultAzureCredential = Clock  # type: ignore[attr-defined]  # that is what stands in
    monkeypatch.setitem(sys.modules, "azure", ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", package)
    with anyio.fail_after(10):
        async with open_model(Settings(azure_endpoint=fake.url, azure_deployment="one")) as model:
            assert "Hello" in await answer(model.completions)
    assert fake.calls[0].headers["authorization"] == "Bearer token-1"
    assert "api-key" not in fake.calls[0].headers


async def test_azure_with_neither_a_key_nor_azure_identity_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(BadSetting, match="needs AZURE_OPENAI_API_KEY, or the package azure-identity"):
        async with open_model(Settings(azure_endpoint="http://127.0.0.1:9", azure_deployment="one")):
            pass


@pytest.mark.parametrize("settings", [Settings(openai_api_key=KEY), Settings(openai_base_url="http://127.0.0.1:9/v1")])
async def test_an_endpoint_without_a_model_name_is_remarked_upon(
    caplog: pytest.LogCaptureFixture, settings: Settings
) -> None:
    with anyio.fail_after(10), caplog.at_level(logging.INFO):
        async with open_model(settings) as model:
            assert model.provider == "embedded"
    assert "FLEET_MODEL names no model" in caplog.text

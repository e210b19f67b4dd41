"""Which model answers, and what is said while none can."""

import logging
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from agent_framework import Message

from agentic_fleet.errors import ModelFailed
from agentic_fleet.settings import Settings
from agentic_fleet.workflows import models
from agentic_fleet.workflows.completions import Completions
from agentic_fleet.workflows.models import Loading, open_model
from tests.fake_openai import FakeOpenAI

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
    fake: FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(model="gpt-x", openai_base_url=f"{fake.base_url}/", openai_api_key=KEY, azure_endpoint=None)
    with anyio.fail_after(10), caplog.at_level(logging.INFO):
        async with open_model(settings) as model:
            assert (model.name, model.provider, model.small) == ("gpt-x", "openai", False)
            assert model.check().status == "ok"
            assert model.check().detail == "gpt-x at 127.0.0.1 is asked when a run needs it"
            assert not fake.calls
            assert "Hello" in await answer(model.completions)
    assert fake.calls[0].path == "/v1/chat/completions"
    assert fake.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert fake.calls[0].body["model"] == "gpt-x"
    assert "model: gpt-x at 127.0.0.1" in caplog.messages
    assert KEY not in caplog.text + model.check().detail


async def test_a_local_endpoint_needs_no_key(fake: FakeOpenAI) -> None:
    with anyio.fail_after(10):
        async with open_model(Settings(model="local", openai_base_url=fake.base_url)) as model:
            assert "Hello" in await answer(model.completions)
    assert "authorization" not in fake.calls[0].headers


async def test_a_model_name_and_a_key_alone_mean_openai() -> None:
    async with open_model(Settings(model="gpt-x", openai_api_key=KEY)) as model:
        assert model.check().detail.startswith("gpt-x at api.openai.com")


async def test_azure_is_asked_by_deployment(fake: FakeOpenAI) -> None:
    settings = Settings(azure_endpoint=f"{fake.url}/", azure_api_key=KEY, azure_deployment="my gpt")
    with anyio.fail_after(10):
        async with open_model(settings) as model:
            assert (model.name, model.provider) == ("my gpt", "azure")
            assert "Hello" in await answer(model.completions)
    assert fake.calls[0].path == "/openai/deployments/my gpt/chat/completions?api-version=2024-10-21"
    assert fake.calls[0].headers["api-key"] == KEY
    assert "authorization" not in fake.calls[0].headers


async def test_a_key_without_a_model_name_is_remarked_upon(caplog: pytest.LogCaptureFixture) -> None:
    with anyio.fail_after(10), caplog.at_level(logging.INFO):
        async with open_model(Settings(openai_api_key=KEY)) as model:
            assert model.provider == "embedded"
    assert "FLEET_MODEL names no model" in caplog.text

"""The models that the door has."""

from collections.abc import Awaitable, Callable
from typing import get_args

import pytest
from openai import NotFoundError

from agentic_fleet.turns import Mode
from tests.web.door.guest import guest, user
from tests.web.site import site

NAMES = ["fleet", *(f"fleet/{mode}" for mode in get_args(Mode))]


async def test_the_fleet_and_each_of_its_modes_are_models() -> None:
    async with site() as it:
        client = guest(it)
        found = [model async for model in await client.models.list()]
        assert [model.id for model in found] == NAMES
        assert {(model.object, model.owned_by) for model in found} == {("model", "agentic-fleet")}
        for model in found:
            assert await client.models.retrieve(model.id) == model


async def test_a_model_that_does_not_exist_is_not_found_wherever_it_is_named() -> None:
    async with site() as it:
        client = guest(it)
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: client.models.retrieve("gpt-4o"),
            lambda: client.chat.completions.create(model="gpt-4o", messages=user("hi")),
            lambda: client.responses.create(model="fleet/slow", input="hi"),
        ]
        for attempt in attempts:
            with pytest.raises(NotFoundError) as caught:
                await attempt()
            assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert await it.get("/api/v1/runs") == []


@pytest.mark.parametrize(("model", "mode"), [("fleet", "auto"), *zip(NAMES[1:], get_args(Mode), strict=True)])
async def test_a_model_is_a_mode(model: str, mode: str) -> None:
    async with site() as it:
        client = guest(it)
        chat = await client.chat.completions.create(model=model, messages=user("hi"))
        response = await client.responses.create(model=model, input="hi")
        assert (chat.model, response.model) == (model, model)
        assert [turn.ask.mode for turn in it.script.turns] == [mode, mode]

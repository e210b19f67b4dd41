"""Intents and entities: of the given ones only, found in the text, with a confidence that is honest."""

import json
import time
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import Busy, ModelFailed, TimedOut
from agentic_fleet.testing import Reply, ScriptedModel
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.language import AT_ONCE, MOST, Language
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.spotting import spot_entities, spot_intent

TEXT = (
    "Dr. Jane Smith from Berlin joined Acme GmbH on 3 May 2024 at 10:30 for 4,500 euros; mail jane@acme.example or "
    "call +49 30 1234567. She visited Paris, up 5 %, see https://acme.example/a?b=c."
)
INTENTS = ["book_table", "cancelBooking", "greeting"]


def language_over(endpoint: Endpoint, timeout: float = 10.0) -> Language:
    configure_dspy()
    return Language(build_lm(endpoint), timeout=timeout)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("I would like to reserve a table for two", "book_table"),
        ("Please cancel my booking", "cancelBooking"),
        ("Hello there!", "greeting"),
    ],
)
def test_rules_find_an_intent_by_its_words(text: str, intent: str) -> None:
    found = spot_intent(text, INTENTS)
    assert found.intent == intent
    assert 0.4 < found.confidence <= 0.9
    assert "rules" in found.reasoning


def test_rules_that_know_nothing_say_so() -> None:
    found = spot_intent("Xyzzy.", INTENTS)
    assert (found.intent, found.confidence) == ("book_table", 0.33)
    assert "guess" in found.reasoning


def test_rules_find_entities_of_the_given_types_in_the_text() -> None:
    types = ["Person", "City", "Organization", "Date", "Time", "Money", "Email", "Phone", "Percent", "URL"]
    found = [(entity.text, entity.type) for entity in spot_entities(TEXT, types, MOST)]
    assert found == [
        ("Jane Smith", "Person"),
        ("Berlin", "City"),
        ("Acme GmbH", "Organization"),
        ("3 May 2024", "Date"),
        ("10:30", "Time"),
        ("4,500 euros", "Money"),
        ("jane@acme.example", "Email"),
        ("+49 30 1234567", "Phone"),
        ("Paris", "City"),
        ("5 %", "Percent"),
        ("https://acme.example/a?b=c", "URL"),
    ]
    assert [entity.text for entity in spot_entities(TEXT, ["dates"], MOST)] == ["3 May 2024"]
    assert len(spot_entities("1 " * 200, ["number"], MOST)) == MOST


@pytest.mark.parametrize(
    "text", ["Aa " * 3400, "1." * 5000, "a." * 5000, "a" * 10_000, "in Aa " * 1600, "http://" * 1400]
)
def test_no_text_costs_more_than_its_length(text: str) -> None:
    began = time.process_time()
    spot_entities(text, ["person", "city", "company", "date", "money", "email", "phone", "percent", "url"], MOST)
    assert time.process_time() - began < 2


async def test_rules_say_which_types_they_do_not_know() -> None:
    found = await Language(None, timeout=1).entities(TEXT, ["Spaceship", "Date"])
    assert [entity.text for entity in found.entities] == ["3 May 2024"]
    assert "Spaceship" in found.reasoning


async def test_a_model_is_asked_in_a_closed_form(fake: ScriptedModel, endpoint: Endpoint) -> None:
    said = '{"reasoning": "It asks for a table.", "intent": "book_table", "confidence": 9}'
    fake.reply = lambda body: Reply(said)
    with anyio.fail_after(10):
        found = await language_over(endpoint).intent("A table, please", INTENTS)
    assert (found.intent, found.confidence, found.reasoning) == ("book_table", 0.9, "It asks for a table.")


async def test_a_models_intent_that_was_not_given_is_not_believed(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: Reply('{"reasoning": "", "intent": "dance", "confidence": 10}')
    with anyio.fail_after(10):
        found = await language_over(endpoint).intent("Hello", INTENTS)
    assert found.intent == "greeting"
    schema = fake.calls[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["intent"]["enum"] == INTENTS


@pytest.mark.parametrize("said", ["no", "{}", '{"entities": 7}', '{"entities": [1, null, {"text": 3}]}'])
async def test_nonsense_about_entities_ends_in_rules_or_nothing(
    fake: ScriptedModel, endpoint: Endpoint, said: str
) -> None:
    fake.reply = lambda body: Reply(said)
    with anyio.fail_after(10):
        found = await language_over(endpoint).entities(TEXT, ["Date"])
    assert {entity.text for entity in found.entities} <= {"3 May 2024"}


async def test_entities_that_the_text_does_not_have_were_invented(fake: ScriptedModel, endpoint: Endpoint) -> None:
    entities = [
        {"text": "Paris", "type": "City", "confidence": 8},
        {"text": "London", "type": "City", "confidence": 9},
        {"text": "Berlin", "type": "City", "confidence": "high"},
        {"text": "Berlin", "type": "Planet", "confidence": 9},
        {"text": "Berlin", "type": "City", "confidence": 9},
    ]
    fake.reply = lambda body: Reply(json.dumps({"reasoning": "r", "entities": entities}))
    with anyio.fail_after(10):
        found = await language_over(endpoint).entities(TEXT, ["City"])
    assert [(entity.text, entity.confidence) for entity in found.entities] == [("Berlin", 0.5), ("Paris", 0.8)]


async def test_a_model_that_fails_or_is_late_is_said(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: Reply(status=401)
    with anyio.fail_after(10), pytest.raises(ModelFailed):
        await language_over(endpoint).intent("Hello", INTENTS)
    fake.reply = lambda body: Reply(hang_after=0)
    with anyio.fail_after(10):
        with pytest.raises(TimedOut):
            await language_over(endpoint, timeout=0.2).intent("Hello", INTENTS)
        await fake.settled()


async def test_only_so_many_texts_are_read_at_once(fake: ScriptedModel, endpoint: Endpoint) -> None:
    fake.reply = lambda body: Reply(hang_after=0)
    language = language_over(endpoint)

    async def ask() -> Any:
        return await language.intent("Hello", INTENTS)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(ask)
            await fake.wait_for(lambda: fake.open == AT_ONCE)
            with pytest.raises(Busy):
                await ask()
            tasks.cancel_scope.cancel()
        await fake.settled()
        fake.reply = lambda body: Reply('{"reasoning": "", "intent": "greeting", "confidence": 5}')
        assert (await ask()).intent == "greeting"

"""The door with keys: it is refused in its own words, and nobody goes on from another's response."""

import httpx
import openai
import pytest

from agentic_fleet.turns import RunStatus
from tests.script import Paced
from tests.web.door.guest import user
from tests.web.site import Site, site
from tests.web.test_callers import KEYS, PAIRS, two_callers


def known_as(it: Site, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"{it.url}/v1", http_client=it.http, max_retries=0)


async def test_the_clients_key_is_the_callers_key() -> None:
    async with site(api_keys=PAIRS) as it:
        answer = await known_as(it, KEYS["alice"]).chat.completions.create(model="fleet", messages=user("hi"))
        assert answer.choices[0].message.content == "hi "
        (run,) = await it.store.runs(limit=9)
        assert run.owner == "alice"


async def test_a_wrong_key_raises_what_the_client_knows() -> None:
    async with site(api_keys=PAIRS) as it:
        client = known_as(it, "wrong-0123456789")
        for attempt in (client.models.retrieve("fleet"), client.responses.create(model="fleet", input="hi")):
            with pytest.raises(openai.AuthenticationError) as caught:
                await attempt
            assert (caught.value.code, caught.value.type) == ("invalid_api_key", "authentication_error")


async def test_the_response_of_another_caller_does_not_exist() -> None:
    async with two_callers() as (it, alice, bob):
        first = (await alice.post("/v1/responses", json={"model": "fleet", "input": "secret"})).json()
        body = {"model": "fleet", "input": "and?", "previous_response_id": first["id"]}
        theirs, mine = await bob.post("/v1/responses", json=body), await alice.post("/v1/responses", json=body)
        assert (theirs.status_code, theirs.json()["error"]["code"]) == (400, "previous_response_not_found")
        assert mine.status_code == 200
        assert len(it.script.turns) == 2


async def test_the_run_of_a_caller_that_leaves_is_cancelled_in_its_name() -> None:
    async with two_callers(script := Paced()) as (it, alice, _):
        body = {"model": "fleet", "input": "hi", "stream": True}
        async with alice.stream("POST", "/v1/responses", json=body):
            await script.started.wait()
        await script.left.wait()
        await it.runs.idle()
        assert [run.status for run in await it.store.runs(limit=9)] == [RunStatus.CANCELLED]


async def test_a_caller_that_asks_too_fast_is_told_when_to_come_again() -> None:
    async with site(run_rate=1) as it:
        answers: list[httpx.Response] = []
        while not answers or answers[-1].is_success:
            answers.append(await it.http.post("/v1/responses", json={"model": "fleet", "input": "hi"}))
            assert len(answers) < 100
        last = answers[-1]
        assert (last.status_code, last.json()["error"]["type"]) == (429, "rate_limit_error")
        assert int(last.headers["retry-after"]) > 0
        with pytest.raises(openai.RateLimitError):
            await known_as(it, "x").chat.completions.create(model="fleet", messages=user("hi"))


async def test_behind_a_path_the_door_still_speaks_its_own_words() -> None:
    async with site(root_path="/fleet") as it:
        for path in ("/fleet/v1/nothing", "/v1/nothing"):
            answer = await it.http.get(path)
            assert answer.status_code == 404
            assert answer.json()["error"]["type"] == "invalid_request_error"
        assert (await it.http.get("/fleet/v1/models/fleet/fast")).status_code == 200

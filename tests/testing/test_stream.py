"""Readers of streams: each event once and in order, whatever happens to the connection."""

from contextlib import aclosing
from typing import Any

import anyio
import httpx
import pytest

from agentic_fleet.testing import (
    Client,
    CutOff,
    Event,
    Events,
    Fleet,
    Refused,
    Relay,
    Reply,
    ScriptedModel,
    blocking,
    collect,
    relay,
    running_fleet,
    watch,
)
from agentic_fleet.testing.client import AskOptions
from agentic_fleet.testing.server import serving
from agentic_fleet.testing.stream import Transport
from agentic_fleet.web.wire import AskWords

both = pytest.mark.parametrize("transport", ["sse", "websocket"])
LONG = Reply(tokens=[f"w{number} " for number in range(120)], pause=0.001)  # what comes at once is one event


async def read(it: Client | str, run_id: str, after: int | str | Event = 0, transport: Transport = "sse") -> Events:
    with anyio.fail_after(20):
        return Events([event async for event in watch(it, run_id, after=after, transport=transport)])


@both
async def test_a_run_is_collected_to_its_end(fleet: Fleet, model: ScriptedModel, transport: Transport) -> None:
    events = await collect(fleet, "Say hello to the harbour", transport=transport, mode="fast")
    assert events.text == "Re: Say hello to the harbour"
    assert events.types[0] == "connected"
    assert events.types[-2:] == ["response.completed", "done"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert {event.run_id for event in events} == {event.workflow_id for event in events} == {events[0].run_id}
    assert events.ending is events[-2]
    assert events == await fleet.log(events[0].run_id)


def test_a_test_without_an_event_loop_collects_by_blocking(fleet: Fleet, model: ScriptedModel) -> None:
    assert blocking(collect, fleet.url, "Hello").text == "Re: Hello"


@both
async def test_a_stream_goes_on_after_any_of_its_events(
    fleet: Fleet, model: ScriptedModel, transport: Transport
) -> None:
    events = await collect(fleet, "Hi", mode="fast")
    run = events[0].run_id
    for place, event in enumerate(events):
        assert await read(fleet, run, event, transport) == events[place + 1 :]
    assert await read(fleet, run, events[3].id, transport) == events[4:]
    assert await read(fleet, run, 4, transport) == events[4:]


@both
@pytest.mark.parametrize("size", [1200, 2500, 7001])
async def test_a_wire_that_is_cut_again_and_again_loses_and_repeats_nothing(
    fleet: Fleet, model: ScriptedModel, transport: Transport, size: int
) -> None:
    model.reply = LONG
    events = await collect(fleet, "Hi", mode="fast")
    async with relay(fleet.url) as wire:
        wire.cut_after = size
        assert await read(wire.url, events[0].run_id, transport=transport) == events
        assert wire.connections > 3


@both
async def test_a_live_stream_that_is_cut_goes_on(fleet: Fleet, model: ScriptedModel, transport: Transport) -> None:
    model.reply = Reply("one two three four", hang_after=2)
    seen = Events()
    async with relay(fleet.url) as wire:
        run = await fleet.start("Count", mode="fast")
        with anyio.fail_after(20):
            async with aclosing(watch(wire.url, run.run_id, transport=transport)) as events:
                async for event in events:
                    seen.append(event)
                    if (event.delta or "").endswith("two "):  # deltas may come joined
                        wire.cut()
                        model.release()
        assert wire.connections > 1
    assert seen.text == "one two three four"
    assert seen == await fleet.log(run.run_id)


@both
async def test_a_wire_that_never_holds_gives_up_after_its_tries(
    fleet: Fleet, model: ScriptedModel, transport: Transport
) -> None:
    run = (await collect(fleet, "Hi", mode="fast"))[0].run_id
    async with relay(fleet.url) as wire:
        wire.cut_after = 100
        with pytest.raises(CutOff, match=f"The stream of {run} broke after event 0, 3 times"):
            async for _ in watch(wire.url, run, transport=transport, tries=3):
                pass
        assert wire.connections == 3


@both
async def test_a_stream_survives_a_restart_of_the_service(transport: Transport) -> None:
    seen = Events()
    async with ScriptedModel(Reply("one two three", hang_after=2)) as model, running_fleet(model) as fleet:
        run = await fleet.start("Count", mode="fast")
        with anyio.fail_after(60):
            async for event in watch(fleet, run.run_id, transport=transport, tries=50):
                seen.append(event)
                if (event.delta or "").endswith("two "):  # deltas may come joined
                    await fleet.kill()
                    await fleet.restart()
        assert (await fleet.run(run.run_id)).status == "interrupted"
        assert seen.types[-2:] == ["error", "done"]
        assert seen == await fleet.log(run.run_id)
        model.reply = "all of it"
        resumed = await fleet.resume(run.run_id)
        rest = await read(fleet, run.run_id, resumed.last_event_id or 0, transport)
        assert rest.text == "all of it"
        assert seen + rest == await fleet.log(run.run_id)


@both
async def test_what_the_service_refuses_is_told_with_its_problem(
    fleet: Fleet, model: ScriptedModel, transport: Transport
) -> None:
    with pytest.raises(Refused) as unknown:
        await read(fleet, "nobody", transport=transport)
    assert (unknown.value.status, unknown.value.title) == (404, "Not found")
    run = (await collect(fleet, "Hi", mode="fast"))[0].run_id
    with pytest.raises(Refused) as impossible:
        await read(fleet, run, 10_000, transport)
    assert (impossible.value.status, impossible.value.problem["type"]) == (400, "urn:agenticfleet:bad-cursor")
    with pytest.raises(Refused, match="422 Invalid request: message") as invalid:
        await collect(fleet, "", transport=transport)
    assert invalid.value.problem["errors"][0]["field"] == "message"


@both
async def test_a_key_is_shown_where_one_is_needed(transport: Transport) -> None:
    anna, ben = "annas-key-of-16-and-more", "bens-key-of-16-and-more"
    async with ScriptedModel() as model, running_fleet(model, api_keys=[f"anna:{anna}", f"ben:{ben}"]) as fleet:
        events = await collect(fleet, "Hi", transport=transport, mode="fast")
        run = events[0].run_id
        assert await read(Client(fleet.url, anna), run, transport=transport) == events
        with pytest.raises(Refused, match="404"):
            await read(Client(fleet.url, ben), run, transport=transport)
        for keyless in (fleet.url, Client(fleet.url, "some-other-key-of-16")):
            with pytest.raises(Refused, match="401"):
                await read(keyless, run, transport=transport)
        assert (await collect(fleet, "Hi", api_key=ben, transport=transport)).text == "Re: Hi"


async def test_an_answer_that_takes_too_long_is_told_with_what_there_was(fleet: Fleet, model: ScriptedModel) -> None:
    model.reply = Reply("a b", hang_after=1)
    with pytest.raises(TimeoutError, match=r"The run \w+ was not done after 0.5 s. It told: connected, .*delta"):
        await collect(fleet, "Hi", mode="fast", within=0.5)


async def test_a_page_of_a_proxy_is_told_as_it_is() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<p>No entry"})

    async with serving(page, lifespan="off") as url:
        with pytest.raises(Refused, match="403 Forbidden: <p>No entry"):
            await read(url, "run")


async def test_a_proxy_without_its_service_counts_as_a_broken_wire(fleet: Fleet, model: ScriptedModel) -> None:
    async with relay("http://127.0.0.1:1") as dead, httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(dead.url)
        with pytest.raises(CutOff):
            async for _ in watch(dead.url, "run", tries=2):
                pass


async def test_a_relay_can_be_cut_and_heals(fleet: Fleet) -> None:
    async with relay(fleet.url) as wire, httpx.AsyncClient(base_url=wire.url, trust_env=False) as http:
        assert isinstance(wire, Relay)
        assert (await http.get("/ready")).status_code == 200
        wire.cut_after = 0
        wire.cut()
        with pytest.raises(httpx.TransportError):
            await http.get("/ready")
        wire.cut_after = None
        assert (await http.get("/ready")).status_code == 200


async def test_a_failed_assert_comes_out_of_every_block_as_it_is(fleet: Fleet) -> None:
    for block in (relay(fleet.url), ScriptedModel()):
        with pytest.raises(pytest.skip.Exception):
            async with block:
                pytest.skip("as a test does it")
    with pytest.raises(ZeroDivisionError), ScriptedModel():
        raise ZeroDivisionError


async def test_events_say_what_the_run_came_to(fleet: Fleet, model: ScriptedModel) -> None:
    model.reply = lambda body: Reply(status=401)
    events = await collect(fleet, "Hi", mode="fast")
    assert (events.text, events.requests) == ("", [])
    assert events.ending and events.ending.type == "error"
    assert Events(events[:3]).ending is None


def test_every_option_of_an_ask_can_be_given() -> None:
    assert set(AskOptions.__annotations__) | {"message"} == set(AskWords.__struct_fields__)


async def test_a_log_of_several_pages_is_read_whole(
    fleet: Fleet, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.reply = LONG
    events = await collect(fleet, "Hi", mode="fast")
    for size in (7, len(events), len(events) - 1):
        monkeypatch.setattr("agentic_fleet.testing.client.PAGE", size)
        assert await fleet.log(events[0].run_id) == events
        assert await fleet.log(events[0].run_id, after=5) == events[5:]


def test_blocking_works_beside_an_event_loop_that_is_busy(fleet: Fleet, model: ScriptedModel) -> None:
    async def busy() -> Events:
        return blocking(collect, fleet, "Hi", mode="fast")

    assert blocking(busy).text == "Re: Hi"

"""What every client may rely on, whichever way it follows a run and whatever keeps it.

One invariant underneath: what a reader saw, put together, is the log without a gap and without a repetition, and every
run ends with exactly one ending and `done`.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.events import ENDINGS, StreamEventType, classify_event
from agentic_fleet.turns import Emit, Result, Turn
from tests.faults.extent import times
from tests.faults.table import row
from tests.script import Act, Paced, answer, asking, echo, question, token
from tests.web.site import Event, Site, seqs, site, types
from tests.web.transport import Socket, Sse, Transport

HOSTILE = "a\u2028b\u2029c\u0085d\r\ne\n\ndata: f\0\x1b[2J \U0001f600 </script> \ufeff"


async def fail(turn: Turn, emit: Emit) -> Result:
    await emit(token("half"))
    raise ModelFailed("The model broke off.")


async def stumble(turn: Turn, emit: Emit) -> Result:
    await emit(token("half"))
    raise ZeroDivisionError("how we are built")


async def never(turn: Turn, emit: Emit) -> Result:
    await anyio.sleep_forever()
    raise AssertionError


def assert_whole(events: list[Event], run_id: str) -> None:
    """The log from its start, every event once, one ending, then `done`, then nothing."""
    assert [event["id"] for event in events] == [f"{run_id}:{seq}" for seq in range(1, len(events) + 1)]
    assert types(events)[0] == "connected"
    assert types(events)[-1] == "done"
    assert [kind in ENDINGS for kind in types(events)[1:]].count(True) == 1
    assert types(events)[-2] in ENDINGS
    for event in events:
        category, hint = classify_event(StreamEventType(event["type"]), event.get("kind"))
        assert (event["category"], event["ui_hint"]["component"]) == (category, hint.component)
        assert event["workflow_id"] == run_id
        assert None not in event.values()


@pytest.mark.parametrize("transport", [Sse(), Socket()], ids=lambda each: each.name)
@pytest.mark.parametrize("kept", ["sqlite", "memory"])
class TestContract:
    @pytest.fixture
    def where(self, kept: str, tmp_path: Path) -> dict[str, Any]:
        return {"file": tmp_path / "fleet.db" if kept == "sqlite" else None}

    @row(23)
    @pytest.mark.parametrize(
        ("act", "ending", "status", "more"),
        [
            (echo, "response.completed", "completed", {}),
            (fail, "error", "failed", {}),
            (stumble, "error", "failed", {}),
            (asking(question("q")), "suspended", "suspended", {"input_timeout": 0.05}),
            (asking(question("q")), "error", "failed", {"input_timeout": 0.05, "enable_checkpointing": False}),
            (never, "error", "failed", {"run_timeout": 0.2}),
        ],
        ids=["completed", "failed", "stumbled", "suspended", "unanswered", "timed out"],
    )
    async def test_every_run_is_told_whole_and_ends_once(
        self, transport: Transport, where: dict[str, Any], act: Act, ending: str, status: str, more: dict[str, Any]
    ) -> None:
        ask = {name: more.pop(name) for name in ("enable_checkpointing",) if name in (more := dict(more))}
        async with site(act, **where, **more) as it:
            async with transport.ask(it, "one two three", **ask) as reader:
                events = await reader.rest()
            run_id = events[0]["workflow_id"]
            assert_whole(events, run_id)
            assert types(events)[-2] == ending
            run = await it.get(f"/api/v1/runs/{run_id}")
            assert (run["status"], run["last_event_id"]) == (status, events[-1]["id"])
            said = [each["content"] for each in await messages(it, run) if each["role"] == "assistant"]
            assert said == ([events[-2]["message"]] if ending == "response.completed" else [])
            assert "built" not in json.dumps(events)

    @row(8, 10)
    async def test_a_reader_continues_exactly_where_it_was(self, transport: Transport, where: dict[str, Any]) -> None:
        async with site(**where) as it:
            run = await it.finished()
            async with transport.follow(it, run["run_id"]) as reader:
                events = await reader.rest()
            for after in range(len(events)):
                async with transport.follow(it, run["run_id"], after) as reader:
                    assert await reader.rest() == events[after:]

    @row(1, 9)
    async def test_a_reader_that_is_cut_again_and_again_misses_nothing(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        """While the run goes on: each cut comes before, between or behind the tokens of its stretch."""
        chance, paced = Random(7), Paced()
        async with site(paced, **where) as it:
            run_id = (await it.start())["run_id"]
            seen: list[Event] = []
            for stretch in range(40):
                produced = chance.randrange(3)
                paced.step(*(f"{stretch}.{each} " for each in range(produced)))
                if stretch == 39:
                    paced.finish()
                async with transport.follow(it, run_id, len(seen)) as reader:
                    if stretch == 39:
                        seen += await reader.rest()
                        break
                    for _ in range(chance.randrange(produced + 1)):
                        seen.append(await reader.next())
            assert_whole(seen, run_id)
            assert "".join(event.get("delta", "") for event in seen) == seen[-2]["message"]

    @row(15, 16)
    async def test_any_number_of_readers_see_the_same_whenever_they_come(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        paced = Paced()
        seen: list[list[Event]] = []

        async def read(run_id: str) -> None:
            async with transport.follow(it, run_id) as reader:
                seen.append(await reader.rest())

        async with site(paced, **where) as it:
            run_id = (await it.start())["run_id"]
            async with anyio.create_task_group() as readers:
                for token_text in ("a", "b", "c"):
                    for _ in range(4):
                        readers.start_soon(read, run_id)
                    async with transport.follow(it, run_id):
                        paced.step(token_text)  # and one leaves at once
                paced.finish()
            await read(run_id)  # and one comes when it is over
            assert len(seen) == 13
            assert_whole(seen[0], run_id)
            assert all(events == seen[0] for events in seen)

    @row(17, 18)
    async def test_cancelling_ends_it_once_however_often_and_whoever_asks(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        states: list[Event] = []

        async def cancel() -> None:
            states.append((await it.http.post(f"/api/v1/runs/{run_id}/cancel")).json())

        paced = Paced()
        async with site(paced, **where) as it:
            async with transport.ask(it, "hi") as reader:
                run_id = (first := await reader.next())["workflow_id"]
                async with anyio.create_task_group() as everybody:
                    for _ in range(20):
                        everybody.start_soon(cancel)
                events = [first, *await reader.rest()]
            assert_whole(events, run_id)
            assert types(events)[-2] == "cancelled"
            assert paced.left.is_set()
            await cancel()
            assert {state["status"] for state in states} == {"cancelled"}
            assert all(state == states[0] for state in states)

    @row(19)
    async def test_a_cancel_that_races_the_end_leaves_one_ending(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        """FLEET_FULL=1: 1,000 times."""
        endings = set()
        async with site(patience=times(10, 300), run_rate=0, frame_rate=0, **where) as it:
            for place in range(times(60, 1000)):
                run_id = (await it.start("a b c"))["run_id"]
                for _ in range(place % 12):
                    await anyio.lowlevel.checkpoint()
                state = (await it.http.post(f"/api/v1/runs/{run_id}/cancel")).json()
                async with transport.follow(it, run_id) as reader:
                    events = await reader.rest()
                assert_whole(events, run_id)
                expected = {"response.completed": "completed", "cancelled": "cancelled"}[events[-2]["type"]]
                assert state["status"] == expected
                endings.add(expected)
        assert endings

    @row(24, 25, 26)
    @pytest.mark.parametrize("response", ["yes", ["a", 1], {"approved": True, "why": HOSTILE}, None, 0.5])
    async def test_a_question_takes_one_answer_of_any_shape(
        self, transport: Transport, where: dict[str, Any], response: Any
    ) -> None:
        async with site(asking(question("q1"), question("q2")), **where) as it:
            async with transport.ask(it, "hi") as reader:
                events = [await reader.next()]
                run_id = events[0]["workflow_id"]
                while [event.get("kind") for event in events].count("request") < 2:
                    events.append(await reader.next())
                assert await respond(it, run_id, "q3", response) == 404
                assert await respond(it, run_id, "q1", response) == 200
                assert await respond(it, run_id, "q1", response) == 409
                assert (await it.get(f"/api/v1/runs/{run_id}"))["status"] == "waiting", "one is still open"
                assert await respond(it, run_id, "q2", "then go on") == 200
                events += await reader.rest()
            assert_whole(events, run_id)
            told = [event["data"]["response"] for event in events if event.get("kind") == "response"]
            assert told == [response, "then go on"]
            assert await respond(it, run_id, "q1", response) == 409

    @row(27)
    async def test_an_answer_is_taken_before_anybody_has_read_its_question(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        async with site(asking(question("q1")), **where) as it:
            run_id = (await it.start())["run_id"]
            while await respond(it, run_id, "q1", "red") == 404:  # not asked yet
                pass
            async with transport.follow(it, run_id) as reader:
                events = await reader.rest()
            assert_whole(events, run_id)
            assert [event["kind"] for event in events if "kind" in event] == ["request", "response"]

    @row(44)
    async def test_what_a_model_writes_never_breaks_a_frame(self, transport: Transport, where: dict[str, Any]) -> None:
        async def write(turn: Turn, emit: Emit) -> Result:
            for part in (HOSTILE, "\ud83d", "\ude00"):
                await emit(token(part))
            return answer(HOSTILE + "\ud83d\ude00")

        async with site(write, **where) as it:
            async with transport.ask(it, HOSTILE) as reader:
                events = await reader.rest()
            assert_whole(events, events[0]["workflow_id"])
            assert [event["delta"] for event in events if "delta" in event] == [HOSTILE, "\ufffd", "\ufffd"]
            run = await it.get(f"/api/v1/runs/{events[0]['workflow_id']}")
            kept = [message["content"] for message in await messages(it, run)]
            assert run["task"] == kept[0] == HOSTILE
            assert kept[1] == events[-2]["message"] == HOSTILE + "\ufffd\ufffd"

    @row(11, 12)
    async def test_a_position_that_cannot_be_is_refused(self, transport: Transport, where: dict[str, Any]) -> None:
        async with site(**where) as it:
            run, other = await it.finished(), await it.finished()
            run_id = run["run_id"]
            last = int(run["last_event_id"].split(":")[1])
            for after in (last + 1, -1, 10**30, "x", "1.5", f"{run_id}:", ":1", f"{run_id}:1:1"):
                assert await transport.refusal(it, run_id, after) in (400, 422), after
            assert await transport.refusal(it, run_id, f"{other['run_id']}:1") == 404
            assert await transport.refusal(it, "nobody", 0) == 404

    async def test_a_conversation_has_one_live_run_and_others_do_not_wait(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        paced = Paced()
        async with site(paced, max_runs=2, **where) as it:
            async with transport.ask(it, "first") as reader:
                of = (first := await reader.next())["data"]["conversation_id"]
                path = f"/api/v1/conversations/{of}/runs"
                assert (await it.http.post(path, json={"message": "second"})).status_code == 409
                await it.start("elsewhere")
                full = await it.http.post(f"/api/v1/conversations/{of}/runs", json={"message": "third"})
                assert full.status_code == 503 and int(full.headers["retry-after"]) > 0
                paced.finish()
                assert_whole([first, *await reader.rest()], first["workflow_id"])


async def messages(it: Site, run: Event) -> list[Event]:
    found: list[Event] = (await it.get(f"/api/v1/conversations/{run['conversation_id']}"))["messages"]
    return found


async def respond(it: Site, run_id: str, request_id: str, response: Any) -> int:
    body = {"request_id": request_id, "response": response}
    return (await it.http.post(f"/api/v1/runs/{run_id}/responses", json=body)).status_code


def test_the_cursors_of_a_stream_rise() -> None:
    """`assert_whole` would not pass a stream that repeats or skips."""
    event = {"category": "status", "ui_hint": {"component": "ChatStep"}, "workflow_id": "r"}
    told = [{**event, "type": kind} for kind in ("connected", "error", "done")]
    told[1] |= {"category": "error", "ui_hint": {"component": "ErrorStep"}}
    numbered = [{**each, "id": f"r:{seq}"} for seq, each in enumerate(told, 1)]
    assert_whole(numbered, "r")
    assert seqs(numbered) == [1, 2, 3]
    for broken in (numbered[1:], numbered[:-1], [*numbered, numbered[-1]], [numbered[0], numbered[2]]):
        with pytest.raises(AssertionError):
            assert_whole(broken, "r")

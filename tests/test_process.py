"""The process: what a deployment sees of signals, crashes and crowds."""

import json
import os
import random
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect

from agentic_fleet.testing import (
    Body,
    CutOff,
    DidNotStart,
    Events,
    Fleet,
    Reply,
    ScriptedModel,
    collect,
    decision,
    running_fleet,
    watch,
)
from agentic_fleet.testing.fleet import APP
from agentic_fleet.turns import Mode
from tests.faults.extent import times
from tests.faults.processes import slow, until
from tests.faults.table import row

ROOT = APP.parent


async def follow(fleet: Fleet, run_id: str, seen: Events, *begun: anyio.Event) -> None:
    """Read a run's stream into `seen` until it ends or breaks; with six events, it has begun."""
    with suppress(CutOff):
        async for event in watch(fleet, run_id, tries=1):
            seen.append(event)
            if len(seen) == 6:
                for each in begun:
                    each.set()


@row(70)
async def test_24_runs_at_once_keep_their_markers_to_themselves(tmp_path: Path, fake: ScriptedModel) -> None:
    async with running_fleet(fake, home=tmp_path) as fleet:
        answers: dict[str, Events] = {}
        modes: tuple[Mode, Mode] = ("fast", "delegated")

        async def one(number: int) -> None:
            marker = f"marker-{number:02d}-{random.randrange(10**9)}"
            answers[marker] = await collect(fleet, f"Please repeat {marker} to me", mode=modes[number % 2])

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for number in range(24):
                    tasks.start_soon(one, number)
        for marker, events in answers.items():
            assert events.types[-2:] == ["response.completed", "done"]
            assert marker in events.text
            everything = str(events)
            assert not [other for other in answers if other != marker and other in everything]


@row(31)
async def test_sigterm_twice_ends_five_live_streams_properly_and_leaves_nothing_running(
    tmp_path: Path, fake: ScriptedModel
) -> None:
    slow(fake)
    streams = [Events() for _ in range(5)]
    async with running_fleet(fake, home=tmp_path) as fleet:
        async with anyio.create_task_group() as tasks:
            for seen in streams:
                run = await fleet.start("Go", mode="fast")
                tasks.start_soon(follow, fleet, run.run_id, seen)
            await fake.wait_for(lambda: fake.open == 5 and all(call.tokens_sent == 2 for call in fake.calls))
            fleet.signal(signal.SIGTERM)
            with anyio.fail_after(10):
                while (await fleet.http.get("/ready")).status_code != 503:
                    pass
            refused = await fleet.http.post("/api/v1/conversations/new/runs", json={"message": "one more"})
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            fleet.signal(signal.SIGTERM)
        assert await fleet.gone() == 0
        for seen in streams:
            assert seen.types[-2:] == ["error", "done"]
    await fake.settled()
    assert fake.hangups == 5
    async with running_fleet(fake, home=tmp_path) as fleet:
        assert {run.status for run in await fleet.runs()} == {"interrupted"}


async def test_sigterm_lets_live_runs_finish(tmp_path: Path, fake: ScriptedModel) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["all ", "is ", "well"], hold_after=(1, held))
    seen = Events()
    async with running_fleet(fake, home=tmp_path) as fleet:
        run = await fleet.start("Go", mode="fast")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, fleet, run.run_id, seen)
            await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 1)
            fleet.signal(signal.SIGTERM)
            held.set()
        assert await fleet.gone() == 0
    assert seen.types[-2:] == ["response.completed", "done"]
    assert seen.text == "all is well"


async def test_a_sigterm_while_idle_ends_at_once(tmp_path: Path, fake: ScriptedModel) -> None:
    async with running_fleet(fake, home=tmp_path) as fleet:
        fleet.signal(signal.SIGTERM)
        assert await fleet.gone() == 0


@row(29)
async def test_a_reader_that_takes_nothing_is_cut_by_another_sigterm_and_is_no_failure(
    tmp_path: Path, fake: ScriptedModel, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.reply = lambda body: Reply(tokens=["x"] * 12_000)  # more than the kernel takes
    async with running_fleet(fake, home=tmp_path) as fleet:
        run = await fleet.start("Go", mode="fast")
        await follow(fleet, run.run_id, Events())
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", int(fleet.url.rpartition(":")[2])))
            stalled.sendall(f"GET /api/v1/runs/{run.run_id}/events HTTP/1.1\r\nHost: it\r\n\r\n".encode())
            assert stalled.recv(1)
            fleet.signal(signal.SIGTERM)
            with anyio.fail_after(10):
                while await _listens(fleet):
                    pass
                fleet.signal(signal.SIGTERM)
            assert await fleet.gone() == 0
    log = capfd.readouterr().err
    assert "ERROR" not in log
    assert "Traceback" not in log


async def _listens(fleet: Fleet) -> bool:
    try:
        await fleet.http.get("/ready")
    except httpx.HTTPError:
        return False
    return True


@row(32)
async def test_kill_9_loses_nothing_that_was_shown(tmp_path: Path, fake: ScriptedModel) -> None:
    stop = anyio.Event()
    fake.reply = lambda body: Reply(tokens=[f"{i} " for i in range(500)], hold_after=(random.randrange(20, 400), stop))
    for _ in range(3):
        seen = [Events() for _ in range(3)]
        begun = [anyio.Event() for _ in seen]
        runs = []
        async with running_fleet(fake, home=tmp_path) as fleet:
            async with anyio.create_task_group() as tasks:
                for events, event in zip(seen, begun, strict=True):
                    runs.append(await fleet.start("Count", mode="fast"))
                    tasks.start_soon(follow, fleet, runs[-1].run_id, events, event)
                for event in begun:
                    await event.wait()
                fleet.signal(signal.SIGKILL)
            await fleet.gone()
        async with running_fleet(fake, home=tmp_path) as fleet:
            for run, events in zip(runs, seen, strict=True):
                assert (await fleet.run(run.run_id)).status == "interrupted"
                log = await fleet.log(run.run_id)
                assert log[: len(events)] == events
                assert log.types[-2:] == ["error", "done"]
                assert [event.seq for event in log] == list(range(1, len(log) + 1))
        await fake.settled()


@row(17)
@pytest.mark.parametrize("mode", ["fast", "delegated", "sequential", "parallel", "auto"])
@pytest.mark.parametrize("when", ["before the first token", "in mid-answer"])
async def test_cancel_reaches_the_model_in_every_mode(
    tmp_path: Path, fake: ScriptedModel, mode: Mode, when: str
) -> None:
    held = anyio.Event()

    def reply(body: Body) -> Reply:
        if "response_format" in body:
            return _three_agents(body)
        if when == "in mid-answer":
            return Reply(tokens=["a ", "b ", "c "], hold_after=(2, held))
        return Reply(tokens=["a "], hold_before=held)

    fake.reply = reply
    agents = 3 if mode == "parallel" else 1
    async with running_fleet(fake, home=tmp_path) as fleet:
        run = await fleet.start("Compare three ways to heat a house, with research and code and text", mode=mode)
        await fake.wait_for(lambda: _at_work(fake, when) >= agents)
        final = await fleet.cancel(run.run_id)
        assert final.status == "cancelled"
        await fake.settled()
        assert fake.hangups == agents
        log = await fleet.log(run.run_id)
        assert log.types[-2:] == ["cancelled", "done"]


def _three_agents(body: Body) -> Reply:
    """The plan that the planner is asked for, with a team of three."""
    return decision(body, agent_1="researcher", agent_2="analyst", agent_3="coder", mode="sequential")


def _at_work(fake: ScriptedModel, when: str) -> int:
    """Agents whose model call is open and has come as far as it will."""
    sent = 2 if when == "in mid-answer" else 0
    agents = [call for call in fake.calls if "response_format" not in call.body]
    return sum(call.state == "open" and call.tokens_sent == sent for call in agents)


@row(17)
async def test_50_runs_cancelled_at_once_leave_nothing_behind(tmp_path: Path, fake: ScriptedModel) -> None:
    """FLEET_FULL=1: 20 times."""
    rounds = times(2, 20)
    async with running_fleet(fake, home=tmp_path, run_rate=0) as fleet:
        await collect(fleet, "warm up", mode="fast")
        slow(fake)
        with anyio.fail_after(rounds * 30):
            for round in range(rounds):
                runs = [await fleet.start("Go", mode="fast") for _ in range(50)]
                await fake.wait_for(lambda: fake.open == 50)
                async with anyio.create_task_group() as tasks:
                    for run in runs:
                        tasks.start_soon(fleet.cancel, run.run_id)
                await fake.settled()
                if round == 0:
                    descriptors, threads = _held(fleet, "fd"), _held(fleet, "task")
        assert fake.hangups == rounds * 50
        assert [run.status for run in await fleet.runs(limit=100)] == ["cancelled"] * 100
        assert (await fleet.get("/health"))["checks"]["runs"]["status"] == "ok"
        await until(lambda: _held(fleet, "fd") <= descriptors and _held(fleet, "task") <= threads)


def _held(fleet: Fleet, what: str) -> int:
    """How many files and sockets ("fd") or threads ("task") its process has."""
    return len(os.listdir(f"/proc/{fleet.pid}/{what}"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": "many"}, "FLEET_PORT must be a whole number"),
        ({"home": "/proc/nowhere"}, "FLEET_HOME"),
        ({"roster": "/nowhere.toml"}, "FLEET_ROSTER"),
        ({"host": "192.0.2.1", "insecure": True}, "FLEET_HOST, FLEET_PORT: cannot listen on 192.0.2.1 port 0"),
        ({"host": "no such host", "insecure": True}, "FLEET_HOST, FLEET_PORT: cannot listen on no such host port 0"),
    ],
)
def test_a_bad_setting_is_refused_at_start_by_name(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(DidNotStart) as refused, running_fleet(**{"home": tmp_path, **settings}):
        pass
    assert "ended with code 2" in str(refused.value)
    assert words in str(refused.value)
    assert "Traceback" not in str(refused.value)


async def test_a_second_process_on_the_same_home_is_refused(tmp_path: Path, fake: ScriptedModel) -> None:
    async with running_fleet(fake, home=tmp_path):
        with pytest.raises(DidNotStart, match="(?s)ended with code 2.*another AgenticFleet process is using"):
            async with running_fleet(fake, home=tmp_path):
                pass


async def test_plain_uvicorn_works_and_ends_its_runs_as_interrupted(tmp_path: Path, fake: ScriptedModel) -> None:
    slow(fake)
    seen = Events()
    async with running_fleet(fake, home=tmp_path, command=("-c", _PLAIN)) as fleet:
        run = await fleet.start("Go", mode="fast")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow, fleet, run.run_id, seen)
            await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 2)
            fleet.signal(signal.SIGTERM)
        await fleet.gone()
    await fake.settled()
    async with running_fleet(fake, home=tmp_path) as fleet:
        assert (await fleet.run(run.run_id)).status == "interrupted"


_PLAIN = """
import socket, uvicorn
listener = socket.create_server(("127.0.0.1", 0))
print(f"AgenticFleet plain on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
config = uvicorn.Config("app:app", timeout_graceful_shutdown=5)
uvicorn.Server(config).run([listener])
"""


async def test_a_browser_that_reconnects_to_the_chat_stream_causes_no_further_model_call(
    tmp_path: Path, fake: ScriptedModel
) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["one ", "two ", "three"], hold_after=(2, held))
    url = "/api/chat/tab/stream"
    ask = {"message": "Count to three", "mode": "fast"}
    lines: list[str] = []
    async with running_fleet(fake, home=tmp_path) as fleet:
        async with fleet.http.stream("GET", url, params=ask) as stream:
            async for line in stream.aiter_lines():
                lines.append(line)
                if 'two "' in line:  # deltas may come joined
                    break
        last = next(line[4:] for line in reversed(lines) if line.startswith("id: "))
        held.set()
        async with fleet.http.stream("GET", url, params=ask, headers={"Last-Event-ID": last}) as stream:
            lines += [line async for line in stream.aiter_lines()]
        end = next(line[4:] for line in reversed(lines) if line.startswith("id: "))
        again = await fleet.http.get(url, params=ask, headers={"Last-Event-ID": end})
        conversation = await fleet.get("/api/v1/conversations/tab")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert "".join(event["delta"] for event in events if event["type"] == "response.delta") == "one two three"
    assert [event["type"] for event in events].count("connected") == 1
    assert events[-1]["type"] == "done"
    assert again.status_code == 204
    assert len(fake.calls) == 1
    assert [message["role"] for message in conversation["messages"]] == ["user", "assistant"]


async def test_cancel_over_a_socket_reaches_the_model_of_that_run_only(tmp_path: Path, fake: ScriptedModel) -> None:
    slow(fake)
    async with running_fleet(fake, home=tmp_path) as fleet:
        async with connect(f"{fleet.url.replace('http', 'ws')}/api/ws/chat") as socket:
            runs = []
            for _ in range(2):
                await socket.send(json.dumps({"type": "task", "message": "Go", "mode": "fast"}))
                while (event := json.loads(await socket.recv()))["type"] != "connected":
                    pass
                runs.append(event["workflow_id"])
            await fake.wait_for(lambda: fake.open == 2)
            await socket.send(json.dumps({"type": "cancel", "workflow_id": runs[0]}))
            ended: list[str] = []
            while "done" not in ended:
                event = json.loads(await socket.recv())
                if event["workflow_id"] == runs[0]:
                    ended.append(event["type"])
            assert ended[-2:] == ["cancelled", "done"]
            await fake.wait_for(lambda: fake.hangups == 1)
            assert fake.open == 1

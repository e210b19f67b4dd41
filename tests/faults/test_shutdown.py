"""Signals, with everything open that can be open."""

import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agentic_fleet.testing import Body, Event, Events, Fleet, Reply, Run, ScriptedModel, answer, running_fleet
from agentic_fleet.testing.fleet import APP, environment
from agentic_fleet.testing.process import Process
from tests.faults.processes import metric, streams_are
from tests.faults.table import row
from tests.team import helper_team

READERS = 20
"""Of each kind, for each of the five runs."""


class Reader:
    """What a socket or an event stream brings to its end, and how it ends."""

    def __init__(self) -> None:
        self.events = Events()
        self.ended: Any = None

    async def over_sse(self, fleet: Fleet, run: Run) -> None:
        async with fleet.http.stream("GET", f"/api/v1/runs/{run.run_id}/events", timeout=None) as answer:
            id = ""
            async for line in answer.aiter_lines():
                id = line.removeprefix("id: ") if line.startswith("id: ") else id
                if line.startswith("data: ") and '"heartbeat"' not in line:
                    self.events.append(Event.read(line.removeprefix("data: "), id))
        self.ended = "whole"  # httpx raises when the last chunk is missing

    async def over_socket(self, fleet: Fleet, run: Run) -> None:
        async with _connected(fleet) as socket:
            await socket.send(json.dumps({"type": "watch", "run_id": run.run_id}))
            try:
                while True:
                    frame = await socket.recv()
                    if '"heartbeat"' not in str(frame):
                        self.events.append(Event.read(frame))
            except ConnectionClosed:
                self.ended = socket.close_code


def _connected(fleet: Fleet) -> Any:
    return connect(f"{fleet.url.replace('http', 'ws')}/api/ws/chat", proxy=None, compression=None)


def five(held: anyio.Event) -> Any:
    """A model for five runs: two that could finish, two that ask the user, one that never ends."""

    def reply(body: Body) -> Reply:
        words = json.dumps(body["messages"])
        if "response_format" in body:
            return answer(body)
        if "ask me" in words:
            return Reply(tool_calls=[("ask_user", {"question": "Which colour?"})])
        return Reply(tokens=["all ", "is ", "well"], hold_after=(1, anyio.Event() if "for ever" in words else held))

    return reply


@row(15, 28)
async def test_of_200_readers_and_five_runs_each_has_its_end(tmp_path: Path, fake: ScriptedModel) -> None:
    """100 event streams, 100 sockets and one that watches nothing."""
    held = anyio.Event()
    fake.reply = five(held)
    (tmp_path / "team.toml").write_text(helper_team("ask_user"), encoding="utf-8")
    tasks = ["finish one", "finish two", "ask me one", "ask me two", "go on for ever"]
    readers: list[tuple[str, Reader]] = []
    with anyio.fail_after(90):
        async with running_fleet(
            fake, home=tmp_path, roster=tmp_path / "team.toml", drain_grace=3600, heartbeat=0.5
        ) as fleet:
            runs = [await fleet.start(task, mode="fast") for task in tasks]
            async with anyio.create_task_group() as group, _connected(fleet) as idle:
                for run in runs:
                    for _ in range(READERS):
                        readers += [(run.run_id, one := Reader()), (run.run_id, other := Reader())]
                        group.start_soon(one.over_sse, fleet, run)
                        group.start_soon(other.over_socket, fleet, run)
                await streams_are(fleet, 2 * READERS * len(runs) + 1)
                await fake.wait_for(lambda: sum(call.tokens_sent == 1 for call in fake.calls) == 3)
                while len(await fleet.runs(status="waiting")) < 2:
                    pass
                fleet.signal(signal.SIGTERM)
                await _is_draining(fleet)
                held.set()
                while await metric(fleet, "fleet_runs_live") > 1:
                    pass
                fleet.signal(signal.SIGTERM)
                await _closed(idle)
            assert await fleet.gone() == 0
            assert "ERROR" not in fleet.output and "Traceback" not in fleet.output
            await fleet.restart()
            logs = {run.run_id: await fleet.log(run.run_id) for run in runs}
            ends = [(log[-2].type.value, (await fleet.run(id)).status.value) for id, log in logs.items()]
            assert ends == [
                ("response.completed", "completed"),
                ("response.completed", "completed"),
                ("suspended", "suspended"),
                ("suspended", "suspended"),
                ("error", "interrupted"),
            ]
            for run in runs[2:]:
                assert await fleet.get(f"/api/v1/runs/{run.run_id}/checkpoints")
    for run_id, reader in readers:
        assert reader.events == logs[run_id]
        assert reader.ended in ("whole", 1012)


async def _is_draining(fleet: Fleet) -> None:
    while (await fleet.http.get("/ready")).status_code != 503:
        pass


async def _closed(socket: ClientConnection) -> None:
    """It is told to come back."""
    with pytest.raises(ConnectionClosed):
        while True:
            await socket.recv()
    assert socket.close_code == 1012


@row(31)
async def test_a_second_signal_ends_it_at_once_whichever_they_are(fake: ScriptedModel) -> None:
    """At once: the grace would be an hour, and the model never says more."""
    fake.reply = Reply("one two", hold_after=(1, anyio.Event()))
    for first, second in ((signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)):
        async with running_fleet(fake, drain_grace=3600) as fleet, AsyncExitStack() as stack:
            run = await fleet.start("Go", mode="fast")
            reader = Reader()
            async with anyio.create_task_group() as group:
                group.start_soon(reader.over_sse, fleet, run)
                idle = await stack.enter_async_context(_connected(fleet))
                await streams_are(fleet, 2)
                fleet.signal(first)
                await _is_draining(fleet)
                assert await metric(fleet, "fleet_runs_live") == 1
                fleet.signal(second)
                await _closed(idle)
            assert await fleet.gone() == 0
            assert (reader.ended, reader.events.types[-2:]) == ("whole", ["error", "done"])
            assert "ERROR" not in fleet.output and "Traceback" not in fleet.output


SLOW_START = """
[tools.silent]
command = ["sh", "-c", "touch STARTED; exec sleep 60"]
"""


@row(31)
def test_a_signal_while_it_starts_ends_it_without_a_trace(tmp_path: Path) -> None:
    """Two of them, held up by a tool's server that says nothing."""
    started = {number: _begun(tmp_path / number.name) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number, process in started.items():
            while not (tmp_path / number.name / "started").exists():
                assert process.exit_code is None, process.output
            process.signal(number)
        for process in started.values():
            assert process.wait(30) == 0
            assert "Traceback" not in process.output and "ERROR" not in process.output
    finally:
        for process in started.values():
            process.end()


def _begun(home: Path) -> Process:
    home.mkdir()
    (home / "team.toml").write_text(
        helper_team("silent", more=SLOW_START.replace("STARTED", str(home / "started"))), encoding="utf-8"
    )
    settings = {"model": "scripted", "openai_base_url": "http://127.0.0.1:1/v1", "roster": home / "team.toml"}
    return Process((str(APP),), environment(home, settings))

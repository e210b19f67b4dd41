"""`ask` in a terminal: a service of its own, Ctrl-C, and a reader that goes."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from agentic_fleet.cli.client import Client
from agentic_fleet.cli.watching import watched
from agentic_fleet.testing import (
    Reply,
    ScriptedModel,
    running_fleet,
)
from agentic_fleet.testing.fleet import APP
from agentic_fleet.testing.server import serving
from tests.faults.processes import environ, slow

ROOT = APP.parent


async def test_ask_shows_the_answer_of_a_service_of_its_own(tmp_path: Path, fake: ScriptedModel) -> None:
    with anyio.fail_after(60):
        ended = await anyio.run_process(
            [sys.executable, "-m", "agentic_fleet", "ask", "Write about otters", "--mode", "fast"],
            env={**environ(tmp_path, fake), "FLEET_PORT": "1"},  # nothing answers there
            cwd=ROOT,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    assert "Write about otters" in ended.stdout.decode()


async def test_ctrl_c_in_ask_cancels_the_run(tmp_path: Path, fake: ScriptedModel) -> None:
    slow(fake)
    async with running_fleet(fake, home=tmp_path) as fleet:
        process = await anyio.open_process(
            [sys.executable, "-m", "agentic_fleet", "ask", "Go", "--mode", "fast", "--json", "--url", fleet.url],
            env=environ(tmp_path, fake),
            cwd=ROOT,
        )
        async with process:
            await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 2)
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(20):
                assert await process.wait() == 130
        await fake.settled()
        assert fake.hangups == 1
        assert {run.status for run in await fleet.runs()} == {"cancelled"}


async def test_ctrl_c_while_ask_is_still_starting_a_run_cancels_that_run(fake: ScriptedModel) -> None:
    slow(fake)
    async with running_fleet(fake) as fleet, aiohttp.ClientSession() as session:

        async def begin() -> tuple[str, None]:
            run = await fleet.start("Go", mode="fast")
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.wait_all_tasks_blocked()
            return run.run_id, None  # only now ask can know it

        with anyio.fail_after(20):
            assert await watched(Client(session, fleet.url), begin, as_json=True) == 130
        await fake.settled()
        assert {run.status for run in await fleet.runs()} == {"cancelled"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_signal_while_ask_starts_a_service_ends_both_quietly(
    tmp_path: Path, fake: ScriptedModel, number: signal.Signals, code: int
) -> None:
    process = await anyio.open_process(
        [sys.executable, "-m", "agentic_fleet", "ask", "Go"],
        env=environ(tmp_path, fake, FLEET_PORT="1"),  # nothing answers there
        cwd=ROOT,
    )
    async with process:
        assert process.stderr is not None
        said = TextReceiveStream(process.stderr)
        with anyio.fail_after(60):
            first = await said.receive()
            assert "starting one" in first
            process.send_signal(number)
            # It ends when the service, which writes there, has ended too. The line end may come as a part of its own.
            assert "".join([part async for part in said]).strip() == ""
            assert await process.wait() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_ask_takes_its_own_service_along_when_its_terminal_goes(
    tmp_path: Path, fake: ScriptedModel, number: signal.Signals
) -> None:
    slow(fake)
    process = await anyio.open_process(
        [sys.executable, "-m", "agentic_fleet", "ask", "Go", "--mode", "fast"],
        env=environ(tmp_path, fake, FLEET_PORT="1"),
        cwd=ROOT,
    )
    async with process:
        await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 2)
        process.send_signal(number)
        with anyio.fail_after(20):
            assert await process.wait() == 128 + number
    async with running_fleet(fake, home=tmp_path) as fleet:  # nobody holds the folder any more
        assert {run.status for run in await fleet.runs()} == {"interrupted"}


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_ask_may_be_cut_short_by_its_reader(tmp_path: Path, fake: ScriptedModel, form: tuple[str, ...]) -> None:
    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["word "] * 50, hold_after=(2, held))
    reader, writer = os.pipe()
    async with running_fleet(fake, home=tmp_path) as fleet:
        process = await anyio.open_process(
            [sys.executable, "-m", "agentic_fleet", "ask", "Go", "--mode", "fast", "--url", fleet.url, *form],
            env=environ(tmp_path, fake),
            cwd=ROOT,
            stdout=writer,
        )
        os.close(writer)
        async with process:
            assert process.stderr is not None
            with anyio.fail_after(20):
                await anyio.wait_readable(reader)
                os.close(reader)
                held.set()
                assert [part async for part in process.stderr] == []
                assert await process.wait() == 141


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("", "--url", "http://127.0.0.1:1"), 2, "the question is empty"),
        (("Go", "--url", "127.0.0.1:8000"), 2, "'127.0.0.1:8000' is not like http://127.0.0.1:8000"),
        (("Go", "--url", "http://127.0.0.1:1"), 3, "No service answers at 127.0.0.1:1"),
        (("Go", "--url", "FAKE"), 3, "is no AgenticFleet"),
        (("x" * 10_001, "--url", "SERVICE"), 1, "The service refused: message:"),
        (("Go",), 3, "another AgenticFleet process is using"),
    ],
)
async def test_ask_says_in_a_line_why_there_is_no_answer(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"<p>Hello"})

    async with (
        ScriptedModel() as fake,
        serving(hello, lifespan="off") as page,
        running_fleet(fake, home=tmp_path) as fleet,
    ):
        urls = {"FAKE": page, "SERVICE": fleet.url}
        with anyio.fail_after(60):
            ended = await anyio.run_process(
                [sys.executable, "-m", "agentic_fleet", "ask", *(urls.get(word, word) for word in arguments)],
                env=environ(tmp_path, fake, FLEET_PORT="1"),
                cwd=ROOT,
                check=False,
            )
    said = ended.stderr.decode()
    assert (ended.returncode, words in said) == (code, True), said
    assert "Traceback" not in said
    assert "Unknown child" not in said

"""The commands as they are typed, against a whole service."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet import __main__ as commands
from agentic_fleet import __version__
from agentic_fleet.testing import Fleet, Reply, ScriptedModel, collect, running_fleet
from agentic_fleet.testing.fleet import APP, environment


@pytest.fixture
async def fake() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel("It is so.") as running:
        yield running


@pytest.fixture
async def fleet(fake: ScriptedModel, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(fake, home=tmp_path, api_keys=["alice:0123456789abcdef"]) as running:
        yield running


async def typed(
    *arguments: str, fleet: Fleet | None = None, input: bytes = b"", environ: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[bytes]:
    url = ["--url", fleet.url] if fleet else []
    key = {"FLEET_API_KEY": fleet.api_key or ""} if fleet else {}
    with anyio.fail_after(40):
        return await anyio.run_process(
            [sys.executable, "-m", "agentic_fleet", *arguments, *url],
            env=environment(Path("nowhere"), more={**key, **environ}),
            cwd=APP.parent,
            input=input,
            check=False,
        )


def objects(printed: bytes) -> list[Any]:
    return [json.loads(line) for line in printed.splitlines()]


async def test_runs_are_listed_shown_watched_cancelled_and_resumed(fake: ScriptedModel, fleet: Fleet) -> None:
    told = await collect(fleet, "Is it\x1b[2J so?", mode="fast")
    run_id = told[0].workflow_id or ""
    listed = (await typed("runs", fleet=fleet)).stdout.decode()
    assert run_id in listed and "completed" in listed and "\x1b" not in listed
    assert [run["run_id"] for run in objects((await typed("runs", "--json", fleet=fleet)).stdout)] == [run_id]
    assert (await typed("runs", "--status", "failed", fleet=fleet)).stdout.strip() == b"There are no runs."
    shown = (await typed("runs", run_id, fleet=fleet)).stdout.decode()
    assert "conversation_id" in shown and "completed" in shown
    watched = await typed("runs", run_id, "--watch", "--json", fleet=fleet)
    assert watched.returncode == 0
    assert [event["type"] for event in objects(watched.stdout)] == told.types

    held = anyio.Event()
    fake.reply = lambda body: Reply(tokens=["It ", "is."], hold_after=(1, held))
    live = await fleet.start("And now?", mode="fast")
    cancelled = await typed("runs", live.run_id, "--cancel", "--json", fleet=fleet)
    assert objects(cancelled.stdout)[0]["status"] == "cancelled"
    held.set()
    resumed = await typed("runs", live.run_id, "--resume", fleet=fleet)
    assert (resumed.returncode, "It is." in resumed.stdout.decode()) == (0, True), resumed


async def test_the_history_and_the_team_are_listed(fleet: Fleet) -> None:
    told = await collect(fleet, "Is it so?", mode="delegated")
    run_id = told[0].workflow_id or ""
    listed = (await typed("history", fleet=fleet)).stdout.decode()
    assert run_id in listed and "delegated" in listed
    one = await typed("history", run_id, "--json", fleet=fleet)
    assert objects(one.stdout)[0]["status"] == "completed"
    team = await typed("agents", fleet=fleet)
    assert b"researcher" in team.stdout and b"web_search cannot be used: Set TAVILY_API_KEY" in team.stdout
    assert {agent["name"] for agent in objects((await typed("agents", "--json", fleet=fleet)).stdout)} >= {"writer"}


async def test_a_question_may_come_from_a_pipe_and_go_on_with_a_conversation(fake: ScriptedModel, fleet: Fleet) -> None:
    asked = await typed("ask", "-", "--mode", "fast", "--json", fleet=fleet, input=b"Is it so?\n")
    events = objects(asked.stdout)
    assert (asked.returncode, events[-1]["type"]) == (0, "done")
    conversation = events[0]["data"]["conversation_id"]
    again = await typed("ask", "Really?", "--mode", "fast", "--conversation", conversation, fleet=fleet)
    assert again.returncode == 0, again.stderr
    assert "Is it so?" in str(fake.calls[-1].body)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("runs", "no-such-run"), 1, "The service refused: There is no such run. (404)"),
        (("runs", "no-such-run", "--watch"), 1, "The service refused: There is no such run. (404)"),
        (("runs", "--watch"), 2, "which run?"),
        (("history", "no-such-run"), 1, "(404)"),
        (("runs", "--limit", "0"), 1, "(422)"),
    ],
)
async def test_what_is_wrong_is_said_in_a_line(fleet: Fleet, arguments: tuple[str, ...], code: int, words: str) -> None:
    ended = await typed(*arguments, fleet=fleet)
    assert (ended.returncode, words in ended.stderr.decode()) == (code, True), ended
    assert b"Traceback" not in ended.stderr


async def test_where_nobody_answers_that_is_said() -> None:
    ended = await typed("agents", "--url", "http://127.0.0.1:1")
    assert ended.returncode == 3
    told = b"No service answers at 127.0.0.1:1 (connection refused): is it running, and --url right?\n"
    assert ended.stderr == told


async def test_words_that_the_locale_lacks_do_not_end_a_command(fake: ScriptedModel, fleet: Fleet) -> None:
    fake.reply = "Tea is 茶."
    asked = await typed("ask", "Tea?", "--mode", "fast", fleet=fleet, environ={"PYTHONIOENCODING": "ascii"})
    assert (asked.returncode, b"Tea is ?." in asked.stdout) == (0, True), asked


async def test_output_that_cannot_be_written_is_no_lost_service(fleet: Fleet) -> None:
    command = [sys.executable, "-m", "agentic_fleet", "agents", "--json", "--url", fleet.url]
    with anyio.fail_after(40):
        ended = await anyio.run_process(
            ["sh", "-c", 'exec "$@" > /dev/full', "sh", *command],
            env=environment(Path("nowhere"), more={"FLEET_API_KEY": fleet.api_key or "", "PYTHONUNBUFFERED": "1"}),
            cwd=APP.parent,
            check=False,
        )
    assert (ended.returncode, b"No space left" in ended.stderr) == (1, True), ended


async def test_a_run_that_is_listed_can_be_named_also_where_it_is_narrow(fleet: Fleet) -> None:
    told = await collect(fleet, "Is it so, with many words that do not fit?", mode="fast")
    listed = await typed("runs", fleet=fleet, environ={"COLUMNS": "40", "FORCE_COLOR": "1"})
    assert told[0].workflow_id and told[0].workflow_id in listed.stdout.decode()


@pytest.mark.parametrize("closed", [True, False])
def test_a_question_that_is_not_there_is_wrong_usage(
    closed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None if closed else io.StringIO(" "))
    monkeypatch.setattr("sys.argv", ["it", "ask", "-"])
    with pytest.raises(SystemExit) as refused:
        commands.main()
    assert refused.value.code == 2
    assert "the question is empty" in capsys.readouterr().err


def test_ctrl_c_while_a_command_is_still_loaded_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sys.argv", ["it", "ask", "Why?"])
        patched.setattr("importlib.import_module", interrupted)
        outcome = commands.main()
    assert outcome == 130


async def test_health_asks_only_a_service_that_is_there_under_a_name_that_it_takes(tmp_path: Path) -> None:
    async with running_fleet("weights-that-are-not-there.gguf", home=tmp_path, allowed_hosts=["fleet.example"]) as ill:
        at = {"FLEET_HOST": "0.0.0.0", "FLEET_PORT": ill.url.rpartition(":")[2]}
        named = await typed("health", environ=at | {"FLEET_ALLOWED_HOSTS": "fleet.example,other.example"})
        assert named.returncode == 1
        assert b"there is no file weights-that-are-not-there.gguf" in named.stdout
        assert b"(400)" in (await typed("health", environ=at)).stderr
    nobody = await typed("health", environ={"FLEET_PORT": "1"})
    assert nobody.returncode == 3
    assert b"starting one" not in nobody.stderr


async def test_serve_is_the_service_itself(fake: ScriptedModel, tmp_path: Path) -> None:
    async with running_fleet(fake, home=tmp_path, command=("-m", "agentic_fleet", "serve")) as fleet:
        assert (await collect(fleet, "Is it so?", mode="fast")).text == "It is so."
        fleet.signal(signal.SIGTERM)
        assert await fleet.gone() == 0


async def test_every_command_says_what_it_does_and_what_its_exit_codes_mean() -> None:
    every = await typed("--help")
    for name in commands.available():
        assert f"\n  {name} " in every.stdout.decode()
        told = await typed(name, "--help")
        assert (told.returncode, b"Exit codes: 0 " in told.stdout) == (0, True), told


def test_a_command_that_this_version_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(commands.COMMANDS, "dance", ("agentic_fleet.no_such_room.dance", "dance"))
    assert "dance" not in commands.available()
    monkeypatch.setattr("sys.argv", ["it", "dance"])
    with pytest.raises(SystemExit) as refused:
        commands.main()
    assert refused.value.code == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["it", "--version"])
    with pytest.raises(SystemExit):
        commands.main()
    assert __version__ in capsys.readouterr().out

"""The service for the length of a block."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.testing import (
    DidNotStart,
    Fleet,
    Refused,
    Reply,
    ScriptedModel,
    blocking,
    collect,
    running_fleet,
    watch,
)
from agentic_fleet.testing import fleet as fleet_module
from agentic_fleet.testing.process import Process

pytestmark = pytest.mark.usefixtures("model")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_runs_in_a_block_and_leaves_nothing(shared_model: ScriptedModel) -> None:
    with running_fleet(shared_model) as fleet:
        assert blocking(collect, fleet, "Hi").text == "Re: Hi"
        assert fleet.url in fleet.output
        assert (fleet.home / "fleet.db").exists()
    assert not alive(fleet.pid)
    assert not fleet.home.exists()


async def test_it_is_gone_however_the_block_is_left(shared_model: ScriptedModel, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with running_fleet(shared_model, home=tmp_path) as fleet:
            raise ZeroDivisionError
    assert not alive(fleet.pid)
    with anyio.move_on_after(10) as scope:
        async with running_fleet(shared_model, home=tmp_path) as fleet:
            scope.cancel()
            await anyio.sleep_forever()
    assert not alive(fleet.pid)
    assert (tmp_path / "fleet.db").exists()


async def test_a_start_that_is_cancelled_leaves_nothing(
    shared_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Process] = []

    class Seen(Process):
        def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
            super().__init__(arguments, environ)
            started.append(self)

    monkeypatch.setattr(fleet_module, "Process", Seen)
    with anyio.move_on_after(0):
        async with running_fleet(shared_model):
            raise AssertionError("it cannot have started")
    assert [alive(each.pid) for each in started] == [False]


CHILD = """
import runpy, subprocess, sys
subprocess.Popen(["sh", "-c", "echo up; exec sleep 600"], stdout=open({fifo!r}, "w"))
runpy.run_path({app!r}, run_name="__main__")
"""


async def test_what_the_service_has_started_ends_with_it(shared_model: ScriptedModel, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    child = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    program = CHILD.format(fifo=str(tmp_path / "fifo"), app=str(fleet_module.APP))
    async with running_fleet(shared_model, command=("-c", program)) as fleet:
        with anyio.fail_after(10):
            await anyio.wait_readable(child)
            assert os.read(child, 10) == b"up\n"
            await fleet.kill()
            await anyio.wait_readable(child)
            assert os.read(child, 10) == b""  # nobody has its other end open
    os.close(child)


async def test_a_killed_service_goes_on_at_the_same_address_with_what_it_knew(shared_model: ScriptedModel) -> None:
    async with running_fleet(shared_model) as fleet:
        events = await collect(fleet, "Hi", mode="fast")
        url, pid = fleet.url, fleet.pid
        await fleet.kill()
        await fleet.restart()
        assert (fleet.url, fleet.pid != pid) == (url, True)
        assert await fleet.log(events[0].run_id) == events
        assert await fleet.stop() == 0


def test_a_restart_may_change_settings(shared_model: ScriptedModel) -> None:
    with running_fleet(shared_model) as fleet:
        blocking(fleet.restart, max_body=1024)
        with pytest.raises(Refused, match="413"):
            blocking(collect, fleet, "x" * 2000)


async def test_a_stop_lets_live_runs_finish(shared_model: ScriptedModel) -> None:
    shared_model.reply = Reply("one two", hang_after=1)
    async with running_fleet(shared_model) as fleet:
        run = await fleet.start("Count", mode="fast")
        async for event in watch(fleet, run.run_id):
            if event.delta == "one ":
                fleet.signal(signal.SIGTERM)
                shared_model.release()
        assert await fleet.gone() == 0
        assert event.type == "done"


async def test_a_human_is_played_by_answer(shared_model: ScriptedModel) -> None:
    async with running_fleet(shared_model) as fleet:
        task = "Compare heat pumps and gas heating for an old house, and write it up"
        run = await fleet.start(task, require_plan_approval=True)
        async for event in watch(fleet, run.run_id):
            if event.kind == "request":
                assert (await fleet.run(run.run_id)).pending_requests[0].request_type == "PlanReview"
                await fleet.answer(run.run_id, {"approved": True})
        log = await fleet.log(run.run_id)
        assert (len(log.requests), log.types[-2]) == (1, "response.completed")
        with pytest.raises(LookupError, match="asks nothing"):
            await fleet.answer(run.run_id, "more")


def test_a_service_that_does_not_start_says_why(shared_model: ScriptedModel) -> None:
    with pytest.raises(DidNotStart, match="(?s)ended with code 2. It printed:.*FLEET_MAX_RUNS must be between"):
        with running_fleet(shared_model, max_runs=0):
            pass


async def test_a_service_that_hangs_at_start_is_given_up(
    shared_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "START", 0.5)
    sleepy = ("-c", "print('Good night.', flush=True); import time; time.sleep(600)")
    with pytest.raises(DidNotStart, match="(?s)was not ready after 0.5 s. It printed:"):
        async with running_fleet(shared_model, command=sleepy):
            pass


def test_a_setting_that_does_not_exist_is_refused_at_once(shared_model: ScriptedModel) -> None:
    with pytest.raises(TypeError, match="There is no setting 'max_run'. There are: host, port"):
        running_fleet(shared_model, max_run=3)


def test_a_model_that_does_not_run_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="does not run yet"):
        running_fleet(ScriptedModel("Hi"))


async def test_without_a_model_the_embedded_one_answers() -> None:
    async with running_fleet() as fleet:
        events = await collect(fleet, "Say hello", mode="fast")
    assert events.types[-2:] == ["response.completed", "done"]
    assert events.text == "".join(event.delta or "" for event in events if event.type == "response.delta") != ""


def test_without_any_model_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "PACKAGE", "no_such_weights")
    with pytest.raises(DidNotStart, match="There is no embedded model, for no_such_weights cannot be imported"):
        running_fleet()


def test_the_settings_of_the_shell_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FLEET_PORT", "OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "TAVILY_API_KEY"):
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("LANG", "theirs")
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    environ = fleet_module.environment(
        tmp_path, {"allowed_origins": ("a", "b"), "insecure": True, "roster": None}, {"NOTES": "n"}
    )
    ours = {name: value for name, value in environ.items() if name.startswith(fleet_module.OURS)}
    assert ours == {
        "FLEET_HOME": str(tmp_path),
        "FLEET_HOST": "127.0.0.1",
        "FLEET_PORT": "0",
        "FLEET_ALLOWED_ORIGINS": "a,b",
        "FLEET_INSECURE": "1",
    }
    assert (environ["LANG"], environ["NOTES"]) == ("theirs", "n")
    assert environ["PYTHONPATH"] == f"{Path.cwd()}{os.pathsep}/some/where"


def test_a_client_outside_its_block_has_no_connection(fleet: Fleet) -> None:
    with pytest.raises(AssertionError, match="outside of `async with`"):
        _ = fleet.http
    assert issubclass(BadSetting, Exception)

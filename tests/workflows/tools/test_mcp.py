"""MCP servers: a real one over stdio, and a real one over HTTP on loopback."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet.events import StreamEventType
from agentic_fleet.testing.server import serving
from agentic_fleet.workflows.tools import mcp as mcp_module
from agentic_fleet.workflows.tools.spec import ToolFailed, ToolSpec
from agentic_fleet.workflows.tools.toolbox import Toolbox
from tests.workflows.tools.mcp_server import build
from tests.workflows.tools.play import opened, spec, stage, stage_with

SCRIPT = str(Path(__file__).with_name("mcp_server.py"))
STDIO = spec("sample", command=(sys.executable, SCRIPT))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a busy machine to start a server again."""
    monkeypatch.setattr(mcp_module, "PATIENCE", 8)


@asynccontextmanager
async def over_http(**headers: str) -> AsyncIterator[tuple[ToolSpec, list[dict[bytes, bytes]]]]:
    seen: list[dict[bytes, bytes]] = []
    app = build().streamable_http_app()

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append(dict(scope["headers"]))
        await app(scope, receive, send)

    async with serving(noting) as url:
        yield spec("sample", url=f"{url}/mcp", headers=headers), seen


async def call(toolbox: Toolbox, name: str, /, **arguments: Any) -> str:
    function = next(function for function in toolbox.of(["sample"]) if function.name == name)
    (content,) = await function.invoke(arguments=arguments)
    return content.text or ""


async def test_a_servers_tools_are_an_agents_tools() -> None:
    with anyio.fail_after(10):
        async with stage([("sample_add", {"a": 1, "b": 2})], "done", sample=STDIO) as at:
            assert await at.turn() == "done"
            assert at.model.told() == ["3"]
            assert at.story() == ["tool.call sample_add", "tool.result sample_add"]
            (offered,) = [
                tool["function"] for tool in at.model.bodies[0]["tools"] if tool["function"]["name"] == "sample_add"
            ]
            assert offered["description"] == "Add two numbers."
            assert set(offered["parameters"]["properties"]) == {"a", "b"}


async def test_a_servers_failure_and_missing_arguments_are_told_to_the_model() -> None:
    with anyio.fail_after(10):
        async with stage([("sample_fail", {}), ("sample_add", {"a": 1})], "done", sample=STDIO) as at:
            await at.turn()
            failure, missing = at.model.told()
            assert failure.startswith("Error: ") and "fail" in failure
            assert missing == "Error: The arguments are not valid: b missing"


async def test_only_the_named_tools_come_and_their_names_suit_the_model() -> None:
    with anyio.fail_after(10):
        async with opened(spec("sample", command=STDIO.command, only=("die.now", "add"))) as toolbox:
            assert {tool.name for tool in toolbox.of(["sample"])} == {"sample_add", "sample_die_now"}


async def test_approval_covers_all_tools_of_a_server() -> None:
    sample = spec("sample", command=STDIO.command, approval=True)
    with anyio.fail_after(10):
        async with stage([("sample_add", {"a": 1, "b": 2})], "done", sample=sample) as at:
            (request,) = await at.paused()
            assert request.request["tool"] == "sample_add"
            await at.turn({request.request_id: True})
            assert at.model.told() == ["3"]


async def test_its_environment_is_what_the_spec_says_and_no_more() -> None:
    sample = spec("sample", command=STDIO.command, env={"GIVEN": "<$OURS>"})
    with anyio.fail_after(10):
        async with opened(sample, environ={"OURS": "secret", "OTHER": "x"}) as toolbox:
            assert await call(toolbox, "sample_variable", name="GIVEN") == "<secret>"
            assert await call(toolbox, "sample_variable", name="OTHER") == ""


async def test_a_server_over_http_gets_its_headers() -> None:
    with anyio.fail_after(10):
        async with over_http(Authorization="Bearer $TOKEN") as (sample, seen):
            async with opened(sample, environ={"TOKEN": "t-1"}) as toolbox:
                assert await call(toolbox, "sample_add", a=1, b=2) == "3"
                assert toolbox.checks["sample"].status == "ok"
        assert {headers.get(b"authorization") for headers in seen} == {b"Bearer t-1"}


@pytest.mark.parametrize(
    ("sample", "hint"),
    [
        (spec("sample", command=("no-such-command-anywhere",)), "was not found"),
        (spec("sample", command=(sys.executable, "-c", "raise SystemExit(1)")), "could not be reached"),
        (spec("sample", url="http://127.0.0.1:1/mcp"), "could not be reached"),
        (spec("sample", command=STDIO.command, env={"A": "$MISSING"}), "Set MISSING"),
        (spec("sample", command=STDIO.command, only=("nonsense",)), "'nonsense'"),
    ],
)
async def test_a_server_that_is_down_at_start_is_a_failed_check(sample: ToolSpec, hint: str) -> None:
    with anyio.fail_after(10):
        async with opened(sample, spec("note")) as toolbox:
            assert toolbox.checks["sample"].status == "failed"
            assert hint in toolbox.checks["sample"].detail
            assert [function.name for function in toolbox.of(["sample", "note"])] == ["note"]


async def test_a_server_that_says_nothing_is_given_up_and_its_process_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_module, "CONNECT_TIMEOUT", 0.2)
    with anyio.fail_after(10):
        async with opened(spec("sample", command=(*STDIO.command, "mute"))) as toolbox:
            assert "did not answer" in toolbox.checks["sample"].detail


async def test_a_server_that_dies_fails_its_calls_and_comes_back() -> None:
    with anyio.fail_after(10):
        async with opened(STDIO) as toolbox:
            stage_ = stage_with(toolbox.of(["sample"]), toolbox.gate, [("sample_die_now", {})], "done")
            await stage_.turn()
            (told,) = stage_.model.told()
            assert told.startswith("Error: The MCP server sample")
            assert stage_.of(StreamEventType.TOOL_RESULT)
            assert await call(toolbox, "sample_add", a=1, b=2) == "3"
            assert toolbox.checks["sample"].status == "ok"


async def test_a_server_that_is_killed_comes_back_too() -> None:
    with anyio.fail_after(10):
        async with opened(STDIO) as toolbox:
            old = int(await call(toolbox, "sample_pid"))
            os.kill(old, signal.SIGKILL)
            with pytest.raises(ToolFailed):
                await call(toolbox, "sample_pid")
            assert int(await call(toolbox, "sample_pid")) != old


async def test_while_a_server_is_away_calls_say_so_and_the_check_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_module, "PATIENCE", 0.2)
    monkeypatch.setattr(mcp_module, "FIRST_PAUSE", 60)
    with anyio.fail_after(10):
        async with opened(STDIO) as toolbox:
            with pytest.raises(ToolFailed):
                await call(toolbox, "sample_die_now")
            with pytest.raises(ToolFailed, match="not connected"):
                await call(toolbox, "sample_add", a=1, b=2)
            assert toolbox.checks["sample"].status == "failed"
            assert "made again" in toolbox.checks["sample"].detail


async def test_a_server_over_http_that_was_restarted_is_found_again() -> None:
    apps = [build().streamable_http_app() for _ in range(2)]
    served = iter(apps)
    now: Any = next(served)

    async def current(scope: Any, receive: Any, send: Any) -> None:
        await now(scope, receive, send)

    with anyio.fail_after(10):
        async with apps[0].router.lifespan_context(apps[0]), apps[1].router.lifespan_context(apps[1]):
            async with serving(current, lifespan="off") as url, opened(spec("sample", url=f"{url}/mcp")) as toolbox:
                assert await call(toolbox, "sample_add", a=1, b=2) == "3"
                now = down
                with pytest.raises(ToolFailed):
                    await call(toolbox, "sample_add", a=1, b=2)
                now = next(served)
                assert await call(toolbox, "sample_add", a=1, b=2) == "3"


async def down(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 502, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_closing_the_toolbox_ends_the_servers_process() -> None:
    with anyio.fail_after(10):
        async with opened(STDIO) as toolbox:
            pid = int(await call(toolbox, "sample_pid"))
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_two_tools_of_the_same_name_do_not_both_get_in() -> None:
    clash = spec("sample_add", function="tests.workflows.tools.samples:note")
    with anyio.fail_after(10):
        async with opened(STDIO, clash) as toolbox:
            assert [tool.name for tool in toolbox.of(["sample", "sample_add"])] == ["sample_add"]
            assert "sample_add" in toolbox.checks["sample"].detail

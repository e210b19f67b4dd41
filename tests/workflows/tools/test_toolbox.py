"""Which tools there are, and what is said of those that cannot work."""

import logging

import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.workflows.tools.builtin import BUILT_IN
from agentic_fleet.workflows.tools.spec import ToolSpec
from agentic_fleet.workflows.tools.toolbox import open_toolbox
from tests.workflows.tools.play import opened, spec, stage


async def test_built_in_tools_need_no_description() -> None:
    async with open_toolbox({}, BUILT_IN, environ={"TAVILY_API_KEY": "k"}) as toolbox:
        names = sorted(BUILT_IN)
        functions = toolbox.of(names)
        assert [function.name for function in functions] == names
        assert all(function.description and function.parameters()["type"] == "object" for function in functions)
        assert {check.status for check in toolbox.checks.values()} == {"ok"}


async def test_built_in_tools_do_what_they_say() -> None:
    calls = [("calculate", {"expression": "6 * 7"}), ("current_time", {"timezone": "Europe/Berlin"})]
    tools = {"calculate": ToolSpec(name="calculate"), "current_time": ToolSpec(name="current_time")}
    async with stage(calls, [("current_time", {"timezone": "../etc/passwd"})], "done", **tools) as at:
        await at.turn()
        result, time, refusal = at.model.told()
        assert result == "42"
        assert "CE" in time
        assert refusal.startswith("Error: There is no time zone")


async def test_an_agent_gets_its_tools_in_its_own_order() -> None:
    async with opened(spec("note"), spec("later"), spec("refuse")) as toolbox:
        assert [function.name for function in toolbox.of(["refuse", "note"])] == ["refuse", "note"]


async def test_a_spec_can_set_a_built_in_tools_approval() -> None:
    async with stage(
        [("calculate", {"expression": "1"})], "done", calculate=ToolSpec(name="calculate", approval=True)
    ) as at:
        (request,) = await at.paused()
        assert request.request_type == "ToolApproval"


async def test_a_tool_without_its_key_is_left_out_and_said_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async with open_toolbox({}, ["web_search", "calculate"], environ={}) as toolbox:
        assert [function.name for function in toolbox.of(["web_search", "calculate"])] == ["calculate"]
        assert toolbox.checks["web_search"].status == "failed"
        assert "TAVILY_API_KEY" in toolbox.checks["web_search"].detail
    assert [record.levelno for record in caplog.records if "web_search" in record.message] == [logging.WARNING]


@pytest.mark.parametrize(
    ("function", "hint"),
    [
        ("no.such.module:x", "must be installed, beside app.py or on PYTHONPATH"),
        ("tests.workflows.tools.samples:missing", "could not be imported"),
        ("tests.workflows.tools.samples", "could not be imported"),
        ("tests.workflows.tools.samples:not_a_function", "not a plain function"),
        ("tests.workflows.tools.samples:nothing_said", "docstring"),
        ("tests.workflows.tools.samples:odd", "cannot be described"),
    ],
)
async def test_a_function_that_cannot_be_used_is_left_out(function: str, hint: str) -> None:
    async with opened(ToolSpec(name="mine", function=function)) as toolbox:
        assert toolbox.of(["mine"]) == []
        assert toolbox.checks["mine"].status == "failed"
        assert hint in toolbox.checks["mine"].detail


async def test_what_no_agent_uses_is_not_opened() -> None:
    described = {"mine": ToolSpec(name="mine", function="no.such.module:x")}
    async with open_toolbox(described, []) as toolbox:
        assert toolbox.checks["mine"].status == "ok"
        assert toolbox.of(["mine"]) == []


@pytest.mark.parametrize(
    ("described", "wanted", "key"),
    [
        ({}, ["typo"], "tools.typo"),
        ({"mine": ToolSpec(name="mine")}, [], "tools.mine"),
        ({"mine": ToolSpec(name="mine", function="a:b", url="http://x")}, [], "tools.mine"),
        ({"calculate": ToolSpec(name="calculate", function="a:b")}, [], "tools.calculate.function"),
    ],
)
async def test_a_tool_that_is_nothing_or_two_things_is_a_bad_setting(
    described: dict[str, ToolSpec], wanted: list[str], key: str
) -> None:
    with pytest.raises(BadSetting, match=key):
        async with open_toolbox(described, wanted):
            raise AssertionError("it opened")

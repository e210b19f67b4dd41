"""The roster: the packaged one is sound, another one is checked to the last key."""

import re
from pathlib import Path

import anyio
import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.settings import Settings
from agentic_fleet.testing import ScriptedModel
from agentic_fleet.workflows.agents import build_team, load_roster
from agentic_fleet.workflows.models import open_model
from agentic_fleet.workflows.tools.toolbox import open_toolbox
from tests.workflows.team import roster_file

GOOD = """
[workflow]
fast_agent = "anna"
synthesis_agent = "anna"
[agents.anna]
description = "Does it."
instructions = "Do it."
skill = "doing"
"""


def test_the_packaged_team_has_six_agents_with_short_instructions_of_their_own() -> None:
    roster = load_roster()
    assert list(roster) == ["researcher", "analyst", "writer", "reviewer", "coder", "planner"]
    assert len({member.instructions for member in roster.values()}) == 6
    assert all(30 <= len(member.instructions.split()) <= 65 for member in roster.values())


def test_cards_carry_what_a_client_may_know() -> None:
    cards = {card.name: card for card in load_roster().cards("Model One")}
    coder = cards["coder"]
    assert (coder.name, coder.model, coder.type, coder.tools) == ("coder", "Model One", "agent", ())
    assert coder.description.startswith("Writes, fixes")
    assert cards["researcher"].tools == ("web_search", "fetch_url", "current_time")


def test_a_card_names_the_model_of_an_agent_that_has_its_own(tmp_path: Path) -> None:
    (card,) = load_roster(roster_file(tmp_path, f'{GOOD}model = "big"')).cards("Model One")
    assert card.model == "big"


TOOLS = """
tools = ["calculate", "weather", "files"]
[tools.weather]
function = "weather:forecast"
approval = true
[tools.files]
command = ["serve-files", "--root", "/data"]
env = {KEY = "$KEY"}
only = ["read"]
[tools.calculate]
timeout = 3
"""


def test_tools_have_tables_or_are_built_in(tmp_path: Path) -> None:
    roster = load_roster(roster_file(tmp_path, GOOD + TOOLS))
    assert roster["anna"].tools == ("calculate", "weather", "files")
    assert list(roster.tools) == ["weather", "files", "calculate"]
    assert (roster.tools["weather"].function, roster.tools["weather"].approval) == ("weather:forecast", True)
    assert roster.tools["files"].command == ("serve-files", "--root", "/data")
    assert roster.tools["calculate"].timeout == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"weather", ', '"whether", ', "agents.anna.tools: there is no tool 'whether'"),
        ('function = "weather:forecast"', "", "tools.weather: needs exactly one of function, command and url"),
        (
            '"weather:forecast"',
            '"a:b"\nurl = "http://x"',
            "tools.weather: needs exactly one of function, command and url",
        ),
        ("timeout = 3", 'url = "http://x"', "tools.calculate.url: calculate is a built-in tool"),
        ("timeout = 3", "timeout = 0", "tools.calculate.timeout: expected `float` > 0.0"),
        ("timeout = 3", "pace = 3", "tools.calculate: object contains unknown field `pace`"),
        ("[tools.weather]", "[tools.Weather]", "tools.Weather: a name is a small letter"),
        ("approval = true", 'name = "x"', "tools.weather: must be a table without the key 'name'"),
    ],
)
def test_what_is_wrong_with_a_tool_is_named_by_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TOOLS
    with pytest.raises(BadSetting) as refused:
        load_roster(roster_file(tmp_path, GOOD + TOOLS.replace(old, new, 1)))
    assert told in str(refused.value)


async def test_an_agents_options_and_its_model_reach_the_endpoint(tmp_path: Path, fake: ScriptedModel) -> None:
    mine = 'model = "big"\ntemperature = 0.5\ntop_p = 0.9\nmax_tokens = 7\nreasoning_effort = "low"'
    roster = load_roster(roster_file(tmp_path, f"{GOOD}{mine}\n[agents.otto]\n{GOOD.partition('[agents.anna]')[2]}"))
    with anyio.fail_after(10):
        async with open_model(Settings(model="small", openai_base_url=fake.base_url)) as model:
            team = build_team(roster, model)
            assert (await team["anna"].run("Hello")).text == (await team["otto"].run("Hello")).text == "Re: Hello"
    anna, otto = (call.body for call in fake.calls)
    keys = ("model", "temperature", "top_p", "max_tokens", "reasoning_effort")
    assert [anna[key] for key in keys] == ["big", 0.5, 0.9, 7, "low"]
    assert [otto.get(key) for key in keys] == ["small", None, None, None, None]
    assert "tools" not in anna


async def test_tools_come_from_the_toolbox(fake: ScriptedModel) -> None:
    roster = load_roster()
    with anyio.fail_after(10):
        async with (
            open_model(Settings(model="m", openai_base_url=fake.base_url)) as model,
            open_toolbox(roster.tools, {"calculate"}) as toolbox,
        ):
            team = build_team(roster, model, toolbox, [toolbox.gate])
            await team["analyst"].run("Hello")
            await team["coder"].run("Hello")
    assert [tool["function"]["name"] for tool in fake.calls[0].body["tools"]] == ["calculate"]
    assert "tools" not in fake.calls[1].body


async def test_beside_the_embedded_model_there_is_no_other(tmp_path: Path) -> None:
    roster = load_roster(roster_file(tmp_path, f'{GOOD}model = "big"'))
    with anyio.fail_after(10):
        async with open_model(Settings()) as model:
            with pytest.raises(
                BadSetting, match=r"agents\.anna\.model: there is no model 'big' beside the embedded one"
            ):
                build_team(roster, model)


async def test_the_embedded_model_is_not_told_an_effort(tmp_path: Path) -> None:
    roster = load_roster(roster_file(tmp_path, f'{GOOD}reasoning_effort = "low"'))
    with anyio.fail_after(10):
        async with open_model(Settings()) as model:
            assert "reasoning_effort" not in build_team(roster, model)["anna"].default_options


def test_a_roster_of_ones_own_is_taken(tmp_path: Path) -> None:
    roster = load_roster(roster_file(tmp_path, GOOD))
    assert (list(roster), roster.bounds.max_agents) == (["anna"], 3)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('fast_agent = "anna"', 'fast_agent = "bob"', "workflow.fast_agent: there is no agent 'bob'"),
        ('synthesis_agent = "anna"', "", "workflow: object missing required field `synthesis_agent`"),
        ("[workflow]", "[workflow]\nmax_agents = 0", "workflow.max_agents: expected `int` >= 1"),
        ("[workflow]", "[workflow]\nagent_timeout = 0", "workflow.agent_timeout: expected `float` > 0.0"),
        ("[workflow]", "[workflow]\npace = 3", "workflow: object contains unknown field `pace`"),
        ("[workflow]", "[tuls]\n[workflow]", "tuls: unknown table"),
        ("[workflow]", "tools = 3\n[workflow]", "tools: must hold tables [tools.NAME]"),
        ("[workflow]", "[workflow]\nhistory_tokens = 10", "workflow.history_tokens: expected `int` >= 100"),
        ('"Do it."', '"Do it."\nreasoning_effort = "maximal"', "agents.anna.reasoning_effort: invalid enum value"),
        ("[agents.anna]", "[agents.Anna]", "agents.Anna: a name is a small letter and up to 31 of a-z, 0-9, _ and -"),
        ('skill = "doing"', "", "agents.anna: object missing required field `skill`"),
        ('"Do it."', '" "', "agents.anna.instructions: expected `str` matching regex '\\\\S'"),
        ('"Do it."', '"Do it."\ntemperature = 3', "agents.anna.temperature: expected `float` <= 2.0"),
        ('"Do it."', '"Do it."\nmax_tokens = "many"', "agents.anna.max_tokens: expected `int | null`, got `str`"),
        ('"Do it."', '"Do it."\nname = "eve"', "agents.anna: must be a table without the key 'name'"),
        ('"Do it."', '"Do it."\ncues = ["a", 1]', "agents.anna.cues[1]: expected `str`, got `int`"),
        ("[agents.anna]", "[agents.anna", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(BadSetting, match="^" + re.escape("FLEET_ROSTER: fleet.toml")) as refused:
        load_roster(roster_file(tmp_path, GOOD.replace(old, new, 1)))
    assert told in str(refused.value)


def test_a_team_needs_a_member(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="there must be at least one"):
        load_roster(roster_file(tmp_path, GOOD[: GOOD.index("[agents")]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="^FLEET_ROSTER: nowhere.toml could not be read: No such file"):
        load_roster(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("Plan it", True),
        ("planning it", True),
        ("Name a plant", False),
        ("Checklists for all", True),
        ("complain", False),
    ],
)
def test_a_cue_is_found_at_the_beginning_of_a_word_and_a_closed_one_only_whole(task: str, found: bool) -> None:
    assert bool(load_roster()["planner"].pattern.search(task)) is found


def test_an_agent_without_cues_is_never_called_for(tmp_path: Path) -> None:
    assert not load_roster(roster_file(tmp_path, GOOD))["anna"].pattern.search("anything at all")

"""The roster: the packaged one is sound, another one is checked to the last key."""

import re
from pathlib import Path

import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.workflows.agents import load_roster
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
    card = load_roster().cards("Model One")[4]
    assert (card.name, card.model, card.type, card.tools) == ("coder", "Model One", "agent", ())
    assert card.description.startswith("Writes, fixes")


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
        ("[workflow]", "[tools]\n[workflow]", "tools: unknown table"),
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

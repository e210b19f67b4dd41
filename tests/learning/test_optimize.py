"""Optimisation: each optimiser makes a model that can learn better, and nothing is kept that is not."""

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed
from agentic_fleet.learning import compile as compile_module
from agentic_fleet.learning import tune as tune_module
from agentic_fleet.learning.compile import Missing
from agentic_fleet.learning.curriculum import gather
from agentic_fleet.learning.optimize import NothingToLearn, Optimisation, is_better
from agentic_fleet.learning.orders import Order
from agentic_fleet.testing import Body, Reply, ScriptedModel
from agentic_fleet.turns import Ask
from agentic_fleet.workflows import saved
from agentic_fleet.workflows.agents import load_roster
from agentic_fleet.workflows.classifier import Classifier, Knobs
from agentic_fleet.workflows.decisions import Decisions
from agentic_fleet.workflows.endpoint import Endpoint
from agentic_fleet.workflows.lm import build_lm, configure_dspy
from agentic_fleet.workflows.saved import PACKAGED
from agentic_fleet.workflows.shelf import Shelf, packaged
from agentic_fleet.workflows.tasks import labelled_tasks, read_tasks
from tests.learning.player import SECRET, Player
from tests.learning.test_curriculum import TEAM, example
from tests.workflows.team import roster_file

ROSTER = load_roster()
PRACTICE = Path(compile_module.__file__).with_name("practice.jsonl")
HELD_OUT = {task.task for task in labelled_tasks() if task.held_out}


def optimisation(folder: Path, completions: Endpoint | None, order: Order, **more: Any) -> Optimisation:
    configure_dspy()
    roster = more.pop("roster", ROSTER)
    given: dict[str, Any] = {"version": PACKAGED, "basis": packaged(roster), "curriculum": gather(roster)}
    return Optimisation(order, roster=roster, folder=folder, completions=completions, **(given | more))


@pytest.mark.parametrize(
    ("auto", "optimizer", "shows", "secret"),
    [("light", "BootstrapFewShot", True, False), ("medium", "MIPROv2", True, True), ("heavy", "GEPA", False, True)],
)
async def test_each_optimiser_makes_a_planner_that_can_learn_better(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path, auto: Any, optimizer: str, shows: bool, secret: bool
) -> None:
    fake.reply = player = Player()
    told: list[tuple[str, int, int]] = []
    order = Order(parts=("planner",), auto=auto, most=4)
    with anyio.fail_after(60):
        outcome = await optimisation(tmp_path, endpoint, order, tell=lambda *it: told.append(it)).run()
        assert outcome.improved == ("planner",)
        assert outcome.optimizer == optimizer
        before, after = outcome.before["planner"], outcome.after["planner"]
        assert after["routing"] > before["routing"] > 0.3
        assert outcome.validation["planner"]["after"] > outcome.validation["planner"]["before"]

        kept = saved.read(tmp_path, outcome.version or "")
        assert (kept.parent, kept.optimizer, kept.model, kept.seed) == (PACKAGED, optimizer, "Model One", 0)
        assert kept.planner is not None
        assert (SECRET in kept.planner.instructions) is secret
        demos = [demo["task"] for demo in kept.planner.demos]
        if shows:
            assert demos
        assert not HELD_OUT & set(demos)  # what measures never teaches

        saved.put_in_force(tmp_path, kept.id)
        shelf = Shelf(tmp_path, ROSTER, packaged(ROSTER))
        decisions = Decisions(ROSTER, lm=build_lm(endpoint)).using(await shelf.in_force())
        await decisions.plan(Ask(message=sorted(HELD_OUT, key=len)[-1]))
    messages = fake.calls[-1].body["messages"]
    assert (SECRET in messages[0]["content"]) is secret
    assert len([message for message in messages if message["role"] == "assistant"]) == len(demos)
    assert ("instruction" in player.asked) is secret
    assert told[0][1] == 0
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert all(done <= of for _, done, of in told)


async def test_the_held_out_tasks_are_asked_about_for_measuring_only(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    fake.reply = Player()
    with anyio.fail_after(60):
        await optimisation(tmp_path, endpoint, Order(parts=("planner",))).run()
    asked = [call.body["messages"][-1]["content"].removeprefix("Task: ") for call in fake.calls]
    measured = [at for at, task in enumerate(asked) if task in HELD_OUT]
    half = len(measured) // 2
    assert half == 45  # rules plan the other three
    assert measured == [*range(half), *range(len(asked) - half, len(asked))]


async def test_both_programs_are_optimised_and_each_is_kept_for_itself(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    fake.reply = Player(able=40, with_examples=40)  # a planner that learns nothing; a judge has no packaged examples
    order = Order(parts=("planner", "assessor"), auto="heavy", most=3)
    with anyio.fail_after(60):
        outcome = await optimisation(tmp_path, endpoint, order).run()
    assert set(outcome.before) == {"planner", "assessor"}
    assert outcome.after["assessor"]["verdict"] > outcome.before["assessor"]["verdict"]
    assert outcome.improved == ("planner", "assessor")


async def test_what_is_not_better_is_not_kept(fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path) -> None:
    fake.reply = Player(able=60, with_examples=60, with_secret=60)
    with anyio.fail_after(60):
        outcome = await optimisation(tmp_path, endpoint, Order(parts=("planner",))).run()
    assert outcome.version is None
    assert "nothing better was found" in outcome.note
    assert saved.listing(tmp_path) == []


async def test_a_team_of_ones_own_learns_from_its_runs(fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path) -> None:
    def plan(body: Body) -> Reply:
        """Who has seen how it is done does it; else every other task is taken for a clerk's."""
        task = body["messages"][-1]["content"]
        odd = int(re.findall(r"\d+", task)[-1]) % 2 and len(body["messages"]) == 2
        agent = "driver" if "crates" in task and not odd else "clerk"
        said = {"complexity": "simple", "mode": "delegated", "agent_1": agent, "part_1": "All.", "agent_2": "none"}
        return Reply(tokens=[jsontext.encode(said).decode()])

    fake.reply = plan
    roster = load_roster(roster_file(tmp_path, TEAM))
    runs = [example(f"Carry {n} crates.", agents=("driver",)) for n in range(40)]
    order = Order(parts=("planner",))
    with anyio.fail_after(60):
        outcome = await optimisation(tmp_path, endpoint, order, roster=roster, curriculum=gather(roster, runs)).run()
        assert outcome.version is not None, outcome.note
        assert outcome.after["planner"]["routing"] == 1 > outcome.before["planner"]["routing"]
        calls = len(fake.calls)
        with pytest.raises(NothingToLearn, match="too few examples that this team could learn from: 0, and 0 to mea"):
            await optimisation(tmp_path, endpoint, order, roster=roster).run()
    assert len(fake.calls) == calls


async def test_a_model_that_is_down_is_said_at_once(fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path) -> None:
    fake.reply = lambda body: Reply(status=401)
    with anyio.fail_after(30), pytest.raises(ModelFailed, match="failed while it was measured"):
        await optimisation(tmp_path, endpoint, Order(parts=("planner",))).run()
    assert len(fake.calls) <= 8


async def test_a_model_that_goes_away_in_the_middle_ends_the_optimisation(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    player = Player()
    fake.reply = lambda body: player(body) if len(fake.calls) < 60 else Reply(status=401)
    with anyio.fail_after(30), pytest.raises(ModelFailed):
        await optimisation(tmp_path, endpoint, Order(parts=("planner",))).run()
    assert len(fake.calls) < 75  # it is not asked for ever
    assert saved.listing(tmp_path) == []


async def test_what_mipro_needs_is_named_when_it_is_missing(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with anyio.fail_after(30), pytest.raises(Missing, match=r"optuna: .venv/bin/pip install -e"):
        await optimisation(tmp_path, endpoint, Order(auto="medium")).run()


async def test_where_only_rules_decide_there_is_nothing_to_learn(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        outcome = await optimisation(tmp_path, None, Order()).run()
    assert "nothing that could learn" in outcome.note


async def test_the_classifier_learns_from_new_tasks_and_gets_better_on_those_it_never_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole search takes a minute; here are the defaults and what it finds."""
    monkeypatch.setattr(tune_module, "TRAINED", (Knobs(), Knobs(by_clause=True, given=1.0)))
    monkeypatch.setattr(tune_module, "FOLDS", 2)
    curriculum = gather(ROSTER, more=read_tasks(PRACTICE.read_text(encoding="utf-8")))
    basis = packaged(ROSTER, Classifier(ROSTER))
    with anyio.fail_after(60):
        outcome = await optimisation(tmp_path, None, Order(), basis=basis, curriculum=curriculum).run()
        before, after = outcome.before["planner"], outcome.after["planner"]
        assert after["routing"] > before["routing"]
        assert (outcome.model, outcome.optimizer) == ("the classifier", "cross-validation")

        kept = saved.read(tmp_path, outcome.version or "")
        assert kept.classifier is not None
        assert len(kept.classifier.learned) == 108
        assert not HELD_OUT & {task.task for task in kept.classifier.learned}
        saved.put_in_force(tmp_path, kept.id)
        classifier = (await Shelf(tmp_path, ROSTER, basis).in_force()).classifier
    assert classifier is not None
    assert classifier.knobs == kept.classifier.knobs
    assert classifier.score.agents >= after["routing"] - 0.05


async def test_a_saved_program_is_text_that_people_can_read(
    fake: ScriptedModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    fake.reply = Player()
    with anyio.fail_after(60):
        outcome = await optimisation(tmp_path, endpoint, Order(parts=("planner",), caller="alice")).run()
    (path,) = (tmp_path / "programs").iterdir()
    kept = json.loads(path.read_text(encoding="ascii"))
    assert kept["id"] == path.stem == outcome.version
    assert kept["owner"] == "alice"
    assert len(kept["data"]) == 64
    assert kept["before"]["planner"]["tasks"] == 48


def test_better_routing_is_not_sold_for_other_points() -> None:
    assert is_better({"score": 0.8, "routing": 0.7}, {"score": 0.7, "routing": 0.7})
    assert not is_better({"score": 0.9, "routing": 0.6}, {"score": 0.7, "routing": 0.7})
    assert not is_better({"score": 0.7, "routing": 0.9}, {"score": 0.7, "routing": 0.7})

"""The history and what people say of answers, over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from agentic_fleet.errors import ModelFailed
from agentic_fleet.learning import EXAMPLES
from agentic_fleet.learning.examples import read_examples
from agentic_fleet.turns import Emit, Result, Turn
from tests.learning.stage import team
from tests.script import Paced, answer, asking, question
from tests.web.site import Site, site

KEYS = ("ada:" + "a" * 20, "bob:" + "b" * 20)
ADA, BOB = ({"Authorization": f"Bearer {key * 20}"} for key in "ab")


async def judged(site: Site, run_id: str, **body: Any) -> Any:
    return await site.http.post(f"/api/v1/runs/{run_id}/feedback", json=body)


async def test_an_execution_has_the_originals_shape_and_more() -> None:
    async with site(team) as on:
        run = await on.finished("a poem")
        (entry,) = await on.get("/api/v1/history")
        assert await on.get(f"/api/v1/history/{run['run_id']}") == entry
    assert entry["workflow_id"] == entry["workflowId"] == run["run_id"]
    assert (entry["task"], entry["status"], entry["mode"]) == ("a poem", "completed", "auto")
    assert entry["created_at"] == run["created_at"] <= entry["started_at"] <= entry["completed_at"]
    assert entry["completed_at"].endswith("Z")
    assert isinstance(entry["latency"], float)
    assert entry["routing"] == {
        "selected_agents": ["writer"],
        "execution_mode": "sequential",
        "reasoning": "It is work for two.",
        "decided_by": "model",
    }
    assert entry["quality"] == {"score": 8.0, "flag": None, "improvements": "A rhyme.", "by": "model"}
    assert entry["metadata"]["usage"] == {"calls": 4, "prompt_tokens": 40, "completion_tokens": 8}
    assert (entry["metadata"]["models"], entry["metadata"]["programs"]["planner"]) == (["m-1"], "v7")
    assert (entry["result"], entry["feedback"]) == ("a poem", None)
    assert [part["agent"] for part in entry["parts"]] == ["researcher", "writer"]


async def test_a_run_without_a_score_has_none_in_its_quality() -> None:
    async def fail(turn: Turn, emit: Emit) -> Result:
        raise ModelFailed("The model broke off.")

    async with site(fail) as on:
        await on.finished()
        (entry,) = await on.get("/api/v1/history")
        assert (entry["status"], "score" in entry["quality"]) == ("failed", False)


async def test_the_newest_run_comes_first_and_pages_are_bounded() -> None:
    async with site() as on:
        runs = [(await on.finished(f"number {number}"))["run_id"] for number in range(5)]
        assert [each["workflow_id"] for each in await on.get("/api/v1/history")] == runs[::-1]
        page = await on.get("/api/v1/history?limit=2&offset=1")
        assert [each["workflow_id"] for each in page] == [runs[3], runs[2]]
        assert await on.get("/api/v1/history?offset=5") == []
        for query in ("limit=0", "limit=101", "offset=-1", "limit=x", "order=up"):
            assert (await on.http.get(f"/api/v1/history?{query}")).status_code == 422


async def test_executions_are_deleted_one_by_one_and_all_at_once(tmp_path: Path) -> None:
    async with site(home=tmp_path, examples_bytes=100_000) as on:
        runs = [(await on.finished(f"number {number}"))["run_id"] for number in range(3)]
        deleted = await on.http.delete(f"/api/v1/history/{runs[1]}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert (await on.http.get(f"/api/v1/history/{runs[1]}")).status_code == 404
        assert (await on.http.delete(f"/api/v1/history/{runs[1]}")).status_code == 404
        assert [each["workflow_id"] for each in await on.get("/api/v1/history")] == [runs[2], runs[0]]
        assert [each.workflow_id for each in read_examples(tmp_path / EXAMPLES)] == [runs[0], runs[2]]
        await on.get(f"/api/v1/runs/{runs[1]}")  # the run stays
        assert (await on.http.delete("/api/v1/history")).status_code == 204
        assert await on.get("/api/v1/history") == []
        assert read_examples(tmp_path / EXAMPLES) == []
        assert (await on.http.delete("/api/v1/history")).status_code == 204


async def test_a_deleted_conversation_leaves_no_history_and_teaches_nothing(tmp_path: Path) -> None:
    async with site(home=tmp_path, examples_bytes=100_000) as on:
        run, other = await on.finished("one"), await on.finished("two")
        assert (await on.http.delete(f"/api/v1/conversations/{run['conversation_id']}")).status_code == 204
        assert [each["workflow_id"] for each in await on.get("/api/v1/history")] == [other["run_id"]]
        assert [each.workflow_id for each in read_examples(tmp_path / EXAMPLES)] == [other["run_id"]]


async def test_each_caller_sees_what_its_runs_teach_and_why_the_others_do_not(tmp_path: Path) -> None:
    async with site(home=tmp_path, examples_bytes=100_000, api_keys=KEYS) as on:
        on.http.headers.update(ADA)
        for message in ("Sort this out.", "Sort that out."):
            await on.finished(message)
        newest = (await on.get("/api/v1/dspy/examples"))[0]
        assert (newest["task"], newest["learned"], newest["corrected"]) == ("Sort that out.", False, False)
        assert newest["why"] == "without a plan of this team"
        await judged(on, newest["workflow_id"], thumb="down", comment="routing: coder, reviewer, sequential")
        right = (await on.get("/api/v1/dspy/examples?limit=1"))[0]
        assert (right["agents"], right["mode"], right["learned"]) == (["coder", "reviewer"], "sequential", True)
        assert (right["why"], right["corrected"]) == ("put right by people", True)
        assert [each["task"] for each in await on.get("/api/v1/dspy/examples?offset=1")] == ["Sort this out."]
        await on.http.delete(f"/api/v1/history/{newest['workflow_id']}")
        assert [each["task"] for each in await on.get("/api/v1/dspy/examples")] == ["Sort this out."]
        on.http.headers.update(BOB)
        assert await on.get("/api/v1/dspy/examples") == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("id", ["never", "a b", "x" * 65, "%00"])
async def test_an_execution_that_is_not_there_is_404(method: str, id: str) -> None:
    async with site() as on:
        assert (await on.http.request(method, f"/api/v1/history/{id}")).status_code == 404


async def test_a_caller_sees_deletes_and_judges_its_own_only() -> None:
    async with site(api_keys=KEYS) as on:
        on.http.headers.update(ADA)
        run_id = (await on.finished("of ada"))["run_id"]
        on.http.headers.update(BOB)
        assert await on.get("/api/v1/history") == []
        for method in ("GET", "DELETE"):
            assert (await on.http.request(method, f"/api/v1/history/{run_id}")).status_code == 404
        assert (await judged(on, run_id, score=1)).status_code == 404
        assert (await on.http.delete("/api/v1/history")).status_code == 204
        on.http.headers.update(ADA)
        (entry,) = await on.get("/api/v1/history")
        assert (entry["task"], entry["caller"], entry["feedback"]) == ("of ada", "ada", None)


async def test_feedback_reaches_the_run_the_message_the_history_and_the_examples(tmp_path: Path) -> None:
    async with site(home=tmp_path, examples_bytes=100_000) as on:
        run = await on.finished()
        given = await judged(on, run["run_id"], score=3, comment="Too short.")
        assert (given.status_code, given.json()) == (
            200,
            {
                "run_id": run["run_id"],
                "quality_score": 3.0,
                "quality_flag": "low_confidence",
                "feedback": {"score": 3.0, "thumb": None, "comment": "Too short."},
            },
        )
        assert (await judged(on, run["run_id"], thumb="up")).json()["quality_score"] == 9.0
        (entry,) = await on.get("/api/v1/history")
        assert (entry["quality"]["score"], entry["quality"]["by"], entry["feedback"]["thumb"]) == (9.0, "human", "up")
        assert (await on.get(f"/api/v1/runs/{run['run_id']}"))["quality_score"] == 9.0
        chat = await on.get(f"/api/v1/conversations/{run['conversation_id']}")
        assert (chat["messages"][-1]["quality_score"], chat["messages"][-1]["quality_flag"]) == (9.0, None)
        (example,) = read_examples(tmp_path / EXAMPLES)
        assert (example.quality_score, example.corrected) == (9.0, True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "score"),
        ({"score": 5, "thumb": "up"}, "score"),
        ({"comment": "only words"}, "score"),
        ({"score": 10.1}, "score"),
        ({"score": -1}, "score"),
        ({"score": "5"}, "score"),
        ({"score": True}, "score"),
        ({"thumb": "sideways"}, "thumb"),
        ({"score": 5, "comment": "x" * 2001}, "comment"),
        ({"score": 5, "stars": 3}, "stars"),
    ],
)
async def test_feedback_that_says_nothing_sound_is_422(body: dict[str, Any], field: str) -> None:
    async with site() as on:
        run = await on.finished()
        given = await judged(on, run["run_id"], **body)
        assert (given.status_code, given.json()["errors"][0]["field"]) == (422, field)
        assert (await on.get(f"/api/v1/runs/{run['run_id']}"))["quality_score"] == 8.0


async def test_a_run_that_has_no_answer_takes_no_feedback() -> None:
    paced = Paced()
    async with site(paced) as on:
        run = await on.start()
        await paced.started.wait()
        assert (await judged(on, run["run_id"], score=5)).status_code == 409
        await on.http.post(f"/api/v1/runs/{run['run_id']}/cancel")
        assert (await judged(on, run["run_id"], score=5)).status_code == 409
        assert (await judged(on, "never", score=5)).status_code == 404


async def test_feedback_on_a_run_whose_history_was_deleted_counts_for_the_run() -> None:
    async with site() as on:
        run = await on.finished()
        await on.http.delete("/api/v1/history")
        assert (await judged(on, run["run_id"], thumb="down")).status_code == 200
        assert (await on.get(f"/api/v1/runs/{run['run_id']}"))["quality_score"] == 2.0
        assert await on.get("/api/v1/history") == []


async def test_a_suspended_run_is_in_the_history_as_such() -> None:
    async with site(asking(question("q")), input_timeout=0.05) as on:
        run = await on.finished()
        (entry,) = await on.get("/api/v1/history")
        assert (run["status"], entry["status"], entry["latency"]) == ("suspended", "suspended", entry["latency"])
        assert ("score" in entry["quality"], entry["routing"]) == (False, {"selected_agents": []})


async def test_a_late_score_shows_in_the_conversation() -> None:
    async def act(turn: Turn, emit: Emit) -> Result:
        return answer("A sound answer.", score=None)

    async with site(act) as on:
        run = await on.start("Tell me something")
        await on.runs.idle()
        said: Any = {"quality_pending": True}
        while said["quality_pending"]:
            said = (await on.get(f"/api/v1/conversations/{run['conversation_id']}"))["messages"][-1]
        assert (said["content"], said["quality_score"], said["quality_flag"]) == ("A sound answer.", 8.0, None)
        assert (await on.get("/api/v1/history"))[0]["quality"]["by"] == "rules"

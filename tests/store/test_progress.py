"""What every store promises about what a run needs to go on: its ask, requests, answers, checkpoints and steps."""

from dataclasses import replace
from typing import Any

import pytest

from agentic_fleet.errors import Conflict, NotFound, StoreFailed
from agentic_fleet.store import Store
from agentic_fleet.turns import Ask, PendingRequest, RunStatus
from tests.store.samples import checkpoint, records, run, start

PLAN = PendingRequest(request_id="r1", request_type="PlanReview", request={"steps": ["a", {"b": [1.5, None]}]})
TOOL = PendingRequest(request_id="r2", request_type="ToolApproval", request="delete \u2028 \U0001f600")


@pytest.mark.parametrize(
    "ask",
    [
        Ask(message="Why?"),
        Ask(
            message='"\u2028\U0001f600\x00',
            mode="handoff",
            reasoning_effort="maximal",
            enable_checkpointing=False,
            on_disconnect="cancel",
            require_plan_approval=True,
        ),
    ],
)
async def test_what_a_run_was_asked_is_kept_and_does_not_change(store: Store, ask: Ask) -> None:
    await start(store, ask=ask)
    assert await store.run("run") == run(ask=ask)
    await store.append("run", records(1, 1), state=run(last_seq=1))
    assert await store.run("run") == run(ask=ask, last_seq=1)
    assert [kept.ask for kept in await store.runs(limit=10)] == [ask]


async def test_requests_and_answers_follow_the_events(store: Store) -> None:
    waiting = replace(await start(store), status=RunStatus.WAITING, last_seq=1, pending_requests=(PLAN, TOOL))
    await store.append("run", records(1, 1), state=waiting)
    assert await store.run("run") == waiting
    going_on = replace(waiting, last_seq=2, pending_requests=(TOOL,), answers={"r1": {"approved": True}})
    await store.append("run", records(2, 2), state=going_on)
    assert await store.run("run") == going_on
    over = replace(going_on, last_seq=3, pending_requests=(), answers={**going_on.answers, "r2": None})
    await store.append("run", records(3, 3), state=over)
    assert await store.run("run") == over


@pytest.mark.parametrize("value", [None, "", [], {}, 0, -1.5, 10**30, True, {"a": [{"\x00": "\u2028"}]}])
async def test_an_answer_is_any_json(store: Store, value: Any) -> None:
    answered = run(answers={"r": value}, pending_requests=(replace(PLAN, request=value),))
    await start(store)
    await store.append("run", [], state=answered)
    assert await store.run("run") == answered


async def test_what_fails_to_be_appended_leaves_requests_and_answers(store: Store) -> None:
    await start(store)
    waiting = run(status=RunStatus.WAITING, last_seq=1, pending_requests=(PLAN,))
    await store.append("run", records(1, 1), state=waiting)
    with pytest.raises(StoreFailed):
        await store.append("run", records(1, 1), state=run(answers={"r1": True}))
    assert await store.run("run") == waiting


async def test_checkpoints_come_in_the_order_in_which_they_were_kept(store: Store) -> None:
    await start(store)
    given = [checkpoint("b", phase="routing", at=9), checkpoint("a", phase="execution", at=3, body=b"")]
    for each in given:
        await store.keep_checkpoint("run", each)
    assert await store.checkpoints("run") == given


async def test_a_checkpoint_kept_again_is_replaced_and_the_newest(store: Store) -> None:
    await start(store)
    for id, body in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        await store.keep_checkpoint("run", checkpoint(id, body=body))
    assert await store.checkpoints("run") == [checkpoint("b", body=b"2"), checkpoint("a", body=b"3")]
    await store.keep_checkpoint("run", checkpoint("a", body=b"4"))
    assert await store.checkpoints("run") == [checkpoint("b", body=b"2"), checkpoint("a", body=b"4")]


async def test_a_step_kept_again_is_replaced(store: Store) -> None:
    await start(store)
    for key, value in (("a", b"one"), ("b", b"\x00"), ("a", b"")):
        await store.keep_step("run", key, value)
    assert await store.steps("run") == {"a": b"", "b": b"\x00"}


async def test_two_runs_may_use_the_same_names(store: Store) -> None:
    for run_id in ("one", "two"):
        await start(store, run_id, of=run_id)
        await store.keep_step(run_id, "a", run_id.encode())
        await store.keep_checkpoint(run_id, checkpoint("c", body=run_id.encode()))
    for run_id in ("one", "two"):
        assert await store.steps(run_id) == {"a": run_id.encode()}
        assert await store.checkpoints(run_id) == [checkpoint("c", body=run_id.encode())]


async def test_what_is_read_belongs_to_the_reader(store: Store) -> None:
    await start(store)
    await store.keep_step("run", "a", b"one")
    await store.keep_checkpoint("run", checkpoint())
    (await store.steps("run")).clear()
    (await store.checkpoints("run")).clear()
    assert await store.steps("run") == {"a": b"one"}
    assert await store.checkpoints("run") == [checkpoint()]


async def test_a_run_that_is_not_there_keeps_nothing(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.keep_checkpoint("gone", checkpoint())
    with pytest.raises(NotFound):
        await store.keep_step("gone", "a", b"one")
    assert (await store.checkpoints("gone"), await store.steps("gone")) == ([], {})
    await start(store, "gone")
    assert (await store.checkpoints("gone"), await store.steps("gone")) == ([], {})


async def _two_runs_with_progress(store: Store) -> None:
    for run_id in ("run", "other"):
        await start(store, run_id, of=f"chat of {run_id}")
        await store.keep_checkpoint(run_id, checkpoint())
        await store.keep_step(run_id, "a", b"one")


@pytest.mark.parametrize("status", sorted(RunStatus))
async def test_a_run_that_completes_forgets_how_it_went_and_no_other_does(store: Store, status: RunStatus) -> None:
    await _two_runs_with_progress(store)
    await store.append("run", records(1, 1), state=run(of="chat of run", status=status, last_seq=1))
    forgotten = status is RunStatus.COMPLETED
    assert await store.checkpoints("run") == ([] if forgotten else [checkpoint()])
    assert await store.steps("run") == ({} if forgotten else {"a": b"one"})
    assert (await store.checkpoints("other"), await store.steps("other")) == ([checkpoint()], {"a": b"one"})


async def test_a_run_whose_completion_was_not_kept_forgets_nothing(store: Store) -> None:
    await _two_runs_with_progress(store)
    await store.append("run", records(1, 1), state=run(of="chat of run", last_seq=1))
    with pytest.raises(StoreFailed):
        await store.append("run", records(1, 1), state=run(of="chat of run", status=RunStatus.COMPLETED))
    assert (await store.checkpoints("run"), await store.steps("run")) == ([checkpoint()], {"a": b"one"})


async def test_a_dropped_conversation_takes_its_runs_progress_along(store: Store) -> None:
    await _two_runs_with_progress(store)
    await store.append("run", [], state=run(of="chat of run", status=RunStatus.FAILED))
    await store.drop_conversation("chat of run", owner="local")
    assert (await store.checkpoints("run"), await store.steps("run")) == ([], {})
    with pytest.raises(NotFound):
        await store.keep_step("run", "a", b"one")
    with pytest.raises(NotFound):
        await store.keep_checkpoint("run", checkpoint())
    assert (await store.checkpoints("other"), await store.steps("other")) == ([checkpoint()], {"a": b"one"})


@pytest.mark.parametrize("status", [RunStatus.SUSPENDED, RunStatus.INTERRUPTED, RunStatus.FAILED, RunStatus.CANCELLED])
async def test_a_run_that_had_ended_goes_on_only_when_its_conversation_is_free(store: Store, status: RunStatus) -> None:
    await start(store)
    ended = run(status=status, last_seq=1, pending_requests=(PLAN,))
    await store.append("run", records(1, 1), state=ended)
    await store.keep_step("run", "a", b"one")
    await start(store, "second")
    again = replace(ended, status=RunStatus.RUNNING, last_seq=2, pending_requests=(), answers={"r1": True})
    with pytest.raises(Conflict):
        await store.append("run", records(2, 2), state=again)
    assert await store.run("run") == ended
    await store.append("second", [], state=run("second", status=RunStatus.COMPLETED))
    await store.append("run", records(2, 2), state=again)
    assert await store.run("run") == again
    assert await store.steps("run") == {"a": b"one"}

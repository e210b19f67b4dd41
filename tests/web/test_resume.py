"""Runs that go on after their end: from a checkpoint, in the same log, for readers old and new."""

from collections import Counter
from typing import Any

import anyio
import httpx

from agentic_fleet.errors import ModelFailed
from agentic_fleet.turns import Checkpoint, Emit, Pause, Result, Turn
from tests.faults.table import row
from tests.script import Paced, answer, token
from tests.web.peer import chat
from tests.web.site import Event, Site, seqs, site, types
from tests.web.test_people import ask_first, path_of, respond, waiting

STREAM = {"Accept": "text/event-stream"}
FIRST = ["connected", "response.delta", "error", "done"]
SECOND = ["connected", "response.delta", "response.completed", "done"]


async def fail_first(turn: Turn, emit: Emit) -> Result:
    """Gets as far as the second checkpoint; answers when it is resumed from there or the first."""
    if turn.checkpoint:
        await emit(token(turn.checkpoint.phase))
        return answer(turn.checkpoint.phase)
    await turn.memory.keep_checkpoint(Checkpoint(checkpoint_id="c1", phase="routing", at=0, body=b"1"))
    await turn.memory.keep_checkpoint(Checkpoint(checkpoint_id="c2", phase="execution", at=1500, body=b"\xff"))
    await emit(token("half"))
    raise ModelFailed("The model broke off.")


async def resume(it: Site, run: Event, **more: Any) -> httpx.Response:
    return await it.http.post(path_of(run) + "/resume", **more)


async def test_a_failed_run_goes_on_from_its_last_checkpoint_in_the_same_log() -> None:
    async with site(fail_first) as it:
        run = await it.finished()
        assert (run["status"], run["error"]) == ("failed", "The model broke off.")
        accepted = await resume(it, run)
        assert (accepted.status_code, accepted.headers["location"]) == (202, path_of(run))
        assert accepted.json()["run_id"] == run["run_id"]
        rest = await it.read(path_of(run) + f"/events?after={run['last_event_id']}")
        assert (types(rest), rest[1]["delta"]) == (SECOND, "execution")
        assert seqs(rest) == [5, 6, 7, 8]
        whole = await it.read(path_of(run) + "/events")
        assert (types(whole), seqs(whole)) == (FIRST + SECOND, list(range(1, 9)))
        ended = await it.get(path_of(run))
        assert (ended["status"], ended["error"], ended["last_event_id"]) == ("completed", None, rest[-1]["id"])


async def test_a_run_goes_on_from_the_checkpoint_that_is_named() -> None:
    async with site(fail_first) as it:
        run = await it.finished()
        refused = await resume(it, run, json={"checkpoint_id": "c3"})
        assert refused.status_code == 404
        assert (await resume(it, run, json={"checkpoint_id": "c1"})).status_code == 202
        assert (await it.read(path_of(run) + "/events"))[-2]["message"] == "routing"


async def test_a_resumption_can_be_answered_by_its_stream() -> None:
    async with site(fail_first) as it:
        run = await it.finished()
        answered = await it.http.post(path_of(run) + "/resume?fields=lean", json={}, headers=STREAM)
        assert (answered.status_code, answered.text.count("\ndata: ")) == (200, 4)
        assert answered.headers["content-type"].startswith("text/event-stream")
        assert f"id: {run['run_id']}:5\n" in answered.text and '{"type":"done"}' in answered.text
        refused = await it.http.post(path_of(run) + "/resume", headers=STREAM)
        assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")


@row(34)
async def test_of_resumptions_at_once_one_is_accepted() -> None:
    script = Paced()

    async def fail_then_work(turn: Turn, emit: Emit) -> Result:
        return await (script if turn.checkpoint else fail_first)(turn, emit)

    async with site(fail_then_work) as it:
        run = await it.finished()
        statuses: list[int] = []

        async def try_it() -> None:
            statuses.append((await resume(it, run)).status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(try_it)
        assert Counter(statuses) == {202: 1, 409: 4}
        assert len(it.script.turns) == 2
        script.finish()


async def test_what_cannot_go_on_is_not_resumed() -> None:
    async with site(Paced()) as it:
        live = await it.start()
        assert (await resume(it, live)).status_code == 409
        assert (await resume(it, {"run_id": "nobody"})).status_code == 404
        assert (await resume(it, {"run_id": "a.b"})).status_code == 404
    async with site() as it:
        completed = await it.finished()
        assert (await resume(it, completed)).status_code == 409
        assert (await it.get(path_of(completed))) == completed


async def test_a_conversation_that_has_gone_on_keeps_its_ended_run_ended() -> None:
    async with site(fail_first) as it:
        run = await it.finished()
        it.script.act = Paced()
        await it.ask(run["conversation_id"], "something else")
        assert (await resume(it, run)).status_code == 409
        assert (await it.get(path_of(run)))["status"] == "failed"


async def test_a_bad_resumption_is_refused_with_the_name_of_the_field() -> None:
    async with site(fail_first) as it:
        run = await it.finished()
        for body, field in (
            ({"checkpoint_id": 5}, "checkpoint_id"),
            ({"checkpoint_id": "../etc"}, "checkpoint_id"),
            ({"checkpoint": "c1"}, "checkpoint"),
            ([], "body"),
        ):
            refused = await resume(it, run, json=body)
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)
        refused = await it.http.post(path_of(run) + "/resume?after=1")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "after")
        assert len(it.script.turns) == 1


async def test_checkpoints_are_listed_oldest_first_and_forgotten_with_the_answer() -> None:
    async with site(fail_first) as it:
        run = await it.finished()
        assert await it.get(path_of(run) + "/checkpoints") == [
            {"checkpoint_id": "c1", "phase": "routing", "at": "1970-01-01T00:00:00.000Z"},
            {"checkpoint_id": "c2", "phase": "execution", "at": "1970-01-01T00:00:01.500Z"},
        ]
        await resume(it, run)
        await it.runs.idle()
        assert await it.get(path_of(run) + "/checkpoints") == []
        assert (await it.http.get("/api/v1/runs/nobody/checkpoints")).status_code == 404
        assert (await it.http.get(path_of(run) + "/checkpoints?limit=1")).status_code == 422


async def test_a_run_that_nobody_answers_is_suspended_and_an_answer_wakes_it() -> None:
    async with site(ask_first, input_timeout=0.1) as it:
        run = await it.start()
        suspended = await it.read(path_of(run) + "/events")
        assert types(suspended)[-2:] == ["suspended", "done"]
        state = await it.get(path_of(run))
        assert (state["status"], state["pending_requests"][0]["request_id"]) == ("suspended", "r1")
        end = await it.http.get(path_of(run) + "/events", headers={"Last-Event-ID": suspended[-1]["id"]})
        assert end.status_code == 204
        assert await respond(it, run, "late") == 200
        rest = await it.read(path_of(run) + "/events", {"Last-Event-ID": suspended[-1]["id"]})
        assert types(rest)[0] == "connected"
        assert (types(rest)[-2:], rest[-2]["message"]) == (["response.completed", "done"], '"late"')


async def test_a_suspended_run_counts_as_ended_when_a_browser_repeats_its_question() -> None:
    async with site(ask_first, input_timeout=0.1) as it:
        first = await it.read("/api/chat/room/stream?message=hi")
        assert types(first)[-2:] == ["suspended", "done"]
        second = await it.read("/api/chat/room/stream?message=hi")
        assert second[0]["workflow_id"] != first[0]["workflow_id"]


async def test_a_socket_that_saw_the_end_sees_the_rest_when_it_resumes() -> None:
    async with site(fail_first) as it, chat(it) as peer:
        for words in ({"run_id": None}, {"conversation_id": "room"}, {}, {"checkpoint_id": "c1"}):
            await peer.say({"message": "hi", "conversation_id": "room"})
            ended = await peer.until_done()
            assert types(ended) == FIRST
            run = ended[0]["workflow_id"]
            await peer.say({"type": "workflow.resume", **{name: value or run for name, value in words.items()}})
            rest = await peer.until_done()
            assert (types(rest), seqs(rest)) == (SECOND, [5, 6, 7, 8])
            assert rest[1]["delta"] == ("routing" if "checkpoint_id" in words else "execution")


async def test_a_socket_resumes_a_run_that_it_never_watched() -> None:
    async with site(fail_first) as it, chat(it) as peer:
        run = await it.finished()
        await peer.say({"type": "workflow.resume", "run_id": run["run_id"]})
        assert seqs(await peer.until_done()) == [5, 6, 7, 8]


async def test_what_cannot_go_on_is_an_error_on_the_socket() -> None:
    async with site(fail_first) as it, chat(it) as peer:
        run = await it.finished()
        for words, status in (
            ({}, 404),
            ({"run_id": "nobody"}, 404),
            ({"conversation_id": "nowhere"}, 404),
            ({"run_id": run["run_id"], "checkpoint_id": "c3"}, 404),
            ({"run_id": run["run_id"], "checkpoint_id": 3}, 422),
        ):
            await peer.say({"type": "workflow.resume", **words})
            assert (await peer.hear())["data"]["status"] == status, words
        await peer.say({"type": "workflow.resume", "conversation_id": run["conversation_id"]})
        await peer.until_done()
        await peer.say({"type": "workflow.resume", "run_id": run["run_id"]})
        assert (await peer.hear())["data"]["status"] == 409


async def test_a_socket_that_is_behind_gets_the_old_end_before_the_new_beginning() -> None:
    async def fail_long(turn: Turn, emit: Emit) -> Result | Pause:
        for _ in range(0 if turn.checkpoint else 200):
            await emit(token("x" * 60_000))
        return await fail_first(turn, emit)

    async with site(fail_long) as it, chat(it, max_queue=1) as peer:
        await peer.say({"message": "hi"})
        run = await peer.hear()
        await it.runs.idle()
        await peer.say({"type": "workflow.resume", "run_id": run["workflow_id"]})
        assert seqs([run, *await peer.until_done()]) == list(range(1, 205))
        rest = await peer.until_done()
        assert (types(rest), seqs(rest)[0]) == (SECOND, 205)


async def test_an_answer_by_a_socket_wakes_a_suspended_run() -> None:
    async with site(ask_first, input_timeout=0.1) as it, chat(it) as peer:
        await peer.say({"message": "hi"})
        ended = await peer.until_done()
        assert types(ended)[-2:] == ["suspended", "done"]
        run = ended[0]["workflow_id"]
        await peer.say({"type": "response", "workflow_id": run, "request_id": "r1", "response": 1})
        await peer.say({"type": "watch", "run_id": run, "after": ended[-1]["id"]})
        assert types(await peer.until_done())[-2:] == ["response.completed", "done"]


async def test_a_cancelled_question_is_asked_again_when_the_run_is_resumed() -> None:
    async with site(ask_first) as it:
        run = await waiting(it)
        await it.http.post(path_of(run) + "/cancel")
        assert (await resume(it, run)).status_code == 202
        assert (await it.get(path_of(run)))["pending_requests"][0]["request_id"] == "r1"
        assert await respond(it, run, "now") == 200
        assert (await it.read(path_of(run) + "/events"))[-2]["message"] == '"now"'

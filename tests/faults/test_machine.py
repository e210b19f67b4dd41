"""Any order of publishing, cutting, reconnecting, cancelling, answering, resuming and crashing keeps one invariant.

What a reader saw, put together, is an image of the log without a gap or a repetition, and each life of a run ends in
exactly one ending followed by `done`. FLEET_FULL=1: 500 histories of 60 steps.
"""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from tests.faults.extent import times
from tests.faults.table import row
from tests.faults.told import assert_told
from tests.faults.world import World, typed

ENDED = {
    "response.completed": {"completed"},
    "cancelled": {"cancelled"},
    "error": {"failed", "interrupted"},
    "suspended": {"suspended"},
}


class Histories(RuleBasedStateMachine):
    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="fleet-")
        self._opened = start_blocking_portal(backend_options={"use_uvloop": True})
        self._portal = self._opened.__enter__()
        self._world = World(Path(self._folder.name))
        self._live()

    def _live(self) -> None:
        self._life: AbstractContextManager[Any] = self._portal.wrap_async_context_manager(self._world.life())
        self._life.__enter__()

    @initialize(target=runs)
    def begin(self) -> str:
        return self._portal.call(self._world.start)

    @rule(target=runs)
    def start(self) -> str:
        return self._portal.call(self._world.start)

    @rule(run=runs, words=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5))
    def publish(self, run: str, words: list[str]) -> None:
        self._portal.call(self._world.puppets.say, run, *words)

    @rule(run=runs, word=st.sampled_from(["ask", "finish", "fail"]))
    def turn(self, run: str, word: str) -> None:
        self._portal.call(self._world.puppets.say, run, word)

    @rule(run=runs)
    def answer(self, run: str) -> None:
        for request in self._portal.call(self._world.state, run)["pending_requests"]:
            body = {"request_id": request["request_id"], "response": "yes"}
            assert self._portal.call(self._world.post, run, "responses", body).status_code in (200, 409)

    @rule(run=runs)
    def cancel(self, run: str) -> None:
        answer = self._portal.call(self._world.post, run, "cancel")
        assert answer.status_code == 200
        assert answer.json()["status"] in ("cancelled", "completed", "failed", "interrupted")

    @rule(run=runs)
    def resume(self, run: str) -> None:
        assert self._portal.call(self._world.post, run, "resume", {}).status_code in (202, 409)

    @rule(reset=st.booleans())
    def cut(self, reset: bool) -> None:
        self._portal.call(lambda: self._world.cut(reset=reset))

    @rule(which=st.integers(0, 9))
    def reconnect(self, which: int) -> None:
        if readers := self._world.readers:
            self._portal.call(self._world.connect, readers[which % len(readers)])

    @rule(last_words=st.sampled_from([(), ("a", "b", "c"), ("a", "finish")]))
    def crash(self, last_words: tuple[str, ...]) -> None:
        self._portal.call(self._world.die, *last_words)
        self._life.__exit__(None, None, None)
        self._live()
        for run in self._world.runs:
            assert self._portal.call(self._world.state, run)["status"] not in ("created", "running", "waiting")

    @invariant()
    def nobody_has_a_gap_or_a_repetition(self) -> None:
        for reader in self._world.readers:
            seen = list(reader.seen)
            assert [event["id"] for event in seen] == [f"{reader.run_id}:{seq + 1}" for seq in range(len(seen))]

    def teardown(self) -> None:
        try:
            for reader in self._world.readers:
                state = self._portal.call(self._world.post, reader.run_id, "cancel").json()
                log = self._portal.call(self._world.read_on, reader)
                assert reader.seen == log
                assert_told(typed(log))
                assert state["status"] in ENDED[log[-2]["type"]]
        finally:
            self._life.__exit__(None, None, None)
            self._opened.__exit__(None, None, None)
            self._folder.cleanup()


@row(8, 9, 16, 19, 32)
class TestHistories(Histories.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis
    settings = settings(
        max_examples=times(15, 500),
        stateful_step_count=times(25, 60),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )

"""What the two locust files share: the service they load, unless `--host` names one, and what they tell locust.

Of each answer three times are reported: to the first token, to the end, and the longest silence between two tokens.
"""

import json
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment

from tests.load.subjects import FLEET, Wish, stage

WISH = Wish(tokens=100, pace=20)
"""What our own model says; any other takes it for a strange question."""

_own = ExitStack()


@events.init.add_listener
def start(environment: Environment, **_: Any) -> None:
    """The service against the model of the bench, when nobody said which service."""
    if not environment.host:
        home = _own.enter_context(tempfile.TemporaryDirectory(prefix="load-"))
        environment.host = _own.enter_context(stage(Path(home), (FLEET,))).children[FLEET].url


@events.quit.add_listener
def stop(**_: Any) -> None:
    _own.close()


def report(kind: str, bodies: Iterable[str]) -> None:
    """Read an answer to its `done`, one event's JSON after the other, and tell locust how long it took."""
    asked = last = time.perf_counter()
    first, silence, ending, size = 0.0, 0.0, "", 0
    for body in bodies:
        event, size = json.loads(body), size + len(body)
        if event["type"] == "response.delta":
            now = time.perf_counter()
            first, silence, last = first or now - asked, max(silence, now - last if first else 0.0), now
        if event["type"] == "done":
            break
        ending = event["type"]
    took = time.perf_counter() - asked
    failure = None if ending == "response.completed" else RuntimeError(f"the answer ended with {ending or 'nothing'}")
    for name, seconds in (("first token", first), ("answer", took), ("longest silence", silence)):
        events.request.fire(
            request_type=kind, name=name, response_time=seconds * 1000, response_length=size, exception=failure
        )

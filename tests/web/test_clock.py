"""The clock of an open stream, and what an event stream does by it."""

from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.types import Message

from agentic_fleet.settings import Settings
from agentic_fleet.web.clock import Clock
from agentic_fleet.web.tail import EventStream


class FakeTime:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("anyio.current_time", lambda: self.now)

    def after(self, seconds: float) -> float:
        self.now += seconds
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


def test_a_silence_is_told_once_for_each_heartbeat(time: FakeTime) -> None:
    clock = Clock(Settings(heartbeat=10, send_timeout=30))
    assert (clock.next_look, clock.look()) == (1010, None)
    time.after(10)
    assert (clock.look(), clock.look()) == ("silent", None)
    assert clock.next_look == 1020


def test_whatever_is_said_puts_the_silence_off(time: FakeTime) -> None:
    clock = Clock(Settings(heartbeat=10, send_timeout=30))
    time.after(8)
    clock.begin()
    clock.end()
    time.after(8)
    assert (clock.look(), clock.next_look) == (None, 1018)


def test_a_peer_that_takes_nothing_is_stalled_and_not_silent(time: FakeTime) -> None:
    clock = Clock(Settings(heartbeat=10, send_timeout=30))
    clock.begin()
    time.after(29)
    assert (clock.look(), clock.next_look) == (None, 1030)
    time.after(1)
    assert clock.look() == "stalled"


@pytest.mark.parametrize(("heartbeat", "send_timeout"), [(10, 600), (600, 10)])
def test_a_look_during_a_send_is_followed_by_another_soon_after_it(
    time: FakeTime, heartbeat: float, send_timeout: float
) -> None:
    clock = Clock(Settings(heartbeat=heartbeat, send_timeout=send_timeout))
    for sending in (True, False):
        clock.sending = sending
        assert clock.next_look <= time.now + 10


async def test_a_reader_that_is_slow_to_take_the_end_of_a_stream_gets_it() -> None:
    sent: list[Message] = []

    class Nobody:
        def silence(self) -> None: ...

    async def chunks() -> AsyncIterator[bytes]:
        yield b"data: x\n\n"

    async def send(message: Message) -> None:
        if sent and message.get("more_body") is False:
            await anyio.sleep(0.2)  # four heartbeats, and far from stalled
        sent.append(message)

    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    settings = Settings(heartbeat=0.05, send_timeout=5)
    stream = EventStream(chunks(), Nobody(), settings, anyio.Event())  # type: ignore[arg-type]  # all it needs
    with anyio.fail_after(5):
        await stream({"type": "http", "method": "GET"}, receive, send)
    assert [message.get("more_body") for message in sent] == [None, True, False]

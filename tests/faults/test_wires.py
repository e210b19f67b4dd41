"""Wires that break, stall and crawl between the service and its readers, on both transports and over both stores."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from httpx_sse import SSEError
from websockets.exceptions import WebSocketException

from agentic_fleet.testing import Relay, relay
from agentic_fleet.turns import Emit, Result, Turn
from tests.edge.fronts import seen_at
from tests.faults.extent import times
from tests.faults.table import row
from tests.script import Act, Paced, answer
from tests.web.site import Event, Site, site
from tests.web.test_contract import assert_whole
from tests.web.transport import Socket, Sse, Transport

BROKEN = (httpx.TransportError, SSEError, WebSocketException)


@asynccontextmanager
async def wired(act: Act, **more: Any) -> AsyncIterator[tuple[Site, Site, Relay]]:
    """The site as it is, the site at the other end of a wire, and the wire."""
    async with site(act, **more) as it, relay(it.url) as wire, seen_at(it, wire.url) as there:
        yield it, there, wire


async def open_streams(it: Site) -> int:
    lines = (await it.http.get("/metrics")).text.splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("fleet_streams_open "))


async def left(it: Site) -> None:
    """Return when the service has noticed that all its readers have left; the site's patience bounds it."""
    while await open_streams(it):
        await anyio.lowlevel.checkpoint()


async def read(there: Site, run_id: str, transport: Transport, seen: list[Event]) -> None:
    """Read on into `seen` until the run ends or the wire breaks."""
    try:
        async with transport.follow(there, run_id, int(seen[-1]["id"].split(":")[1]) if seen else 0) as reader:
            while not seen or seen[-1]["type"] != "done":
                seen.append(await reader.next())
    except (*BROKEN, StopAsyncIteration):
        pass


@pytest.mark.parametrize("transport", [Sse(), Socket()], ids=lambda each: each.name)
@pytest.mark.parametrize("kept", ["sqlite", "memory"])
class TestWires:
    @pytest.fixture
    def where(self, kept: str, tmp_path: Path) -> dict[str, Any]:
        return {
            "file": tmp_path / "fleet.db" if kept == "sqlite" else None,
            "patience": times(20, 600),
            "frame_rate": 0,
        }

    @row(1, 2)
    @pytest.mark.parametrize("end", ["cut", "reset"])
    async def test_a_reader_whose_wire_breaks_is_let_go_and_the_run_goes_on(
        self, transport: Transport, where: dict[str, Any], end: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        paced = Paced()
        async with wired(paced, **where) as (it, there, wire):
            run_id = (await it.start())["run_id"]
            paced.step("a")
            async with AsyncExitStack() as stack:
                reader = await stack.enter_async_context(transport.follow(there, run_id))
                seen = [await reader.next(), await reader.next()]
                getattr(wire, end)()
                with pytest.raises((*BROKEN, StopAsyncIteration)):
                    await reader.next()
                await left(it)
                assert not paced.left.is_set()
            paced.step("b")
            paced.finish()
            await read(there, run_id, transport, seen)
            assert_whole(seen, run_id)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]

    @row(9)
    async def test_random_cuts_in_the_middle_of_frames_lose_and_repeat_nothing(
        self, transport: Transport, where: dict[str, Any]
    ) -> None:
        """Wherever in a frame they come, while the run goes on. FLEET_FULL=1: 1,000 cuts."""
        cuts, chance, paced, seen = times(40, 1000), Random(11), Paced(), list[Event]()
        async with wired(paced, **where) as (it, there, wire):
            run_id = (await it.start())["run_id"]
            while wire.cuts < cuts:
                wire.cut_after = 150 + chance.randrange(1500)
                paced.step(*(f"{wire.connections}.{each} " for each in range(5)))
                await read(there, run_id, transport, seen)
            wire.cut_after = None
            paced.finish()
            await read(there, run_id, transport, seen)
            assert_whole(seen, run_id)
            assert "".join(event.get("delta", "") for event in seen) == seen[-2]["message"]

    @row(5, 6)
    async def test_a_wire_that_stalls_is_cut_and_its_reader_misses_nothing(
        self, transport: Transport, where: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        paced, seen = Paced(), list[Event]()

        async def talk(turn: Turn, emit: Emit) -> Result:
            await paced(turn, emit)
            return answer("In short: nothing.")

        async with wired(talk, send_timeout=0.5, **where) as (it, there, wire):
            run_id = (await it.start())["run_id"]
            paced.step("a")
            async with anyio.create_task_group() as tasks:
                async with transport.follow(there, run_id) as reader:
                    seen.append(await reader.next())
                    wire.stall()
                    paced.step(*["x" * 60_000] * 200)  # more than the kernel takes
                    paced.finish()
                    tasks.start_soon(self._and_others_read_on, transport, it, run_id)
                    await left(it)
                    wire.flow()
            while seen[-1]["type"] != "done":
                await read(there, run_id, transport, seen)
            assert_whole(seen, run_id)
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    async def _and_others_read_on(self, transport: Transport, it: Site, run_id: str) -> None:
        async with transport.follow(it, run_id) as reader:
            assert_whole(await reader.rest(), run_id)

    @row(7)
    async def test_a_slow_wire_brings_everything_in_order(self, transport: Transport, where: dict[str, Any]) -> None:
        """As slow as is bearable here; the service's patience is as much shorter."""
        paced, seen = Paced(), list[Event]()
        async with wired(paced, send_timeout=0.4, **where) as (it, there, wire):
            run_id = (await it.start())["run_id"]
            paced.step(*["x" * 1000] * 200)
            paced.finish()
            wire.speed = 500_000
            while not seen or seen[-1]["type"] != "done":
                await read(there, run_id, transport, seen)
            assert_whole(seen, run_id)

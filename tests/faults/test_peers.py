"""Peers that stop reading, hang up by halves or are gone without a word, at a service that runs as it is deployed."""

import socket
import sys
from contextlib import ExitStack

import anyio
import pytest
from anyio import to_thread

from agentic_fleet.testing import Events, Fleet, Reply, ScriptedModel, collect, running_fleet, watch
from tests.faults.peers import Kind, go_silent, hear, reader
from tests.faults.processes import descriptors, resident, streams_are
from tests.faults.table import row

KINDS: tuple[Kind, Kind] = ("sse", "websocket")
STALLED = 20  # of each kind
MEBIBYTE = 1024 * 1024
LONG = Reply(tokens=["x"] * 12_000)  # more events than the kernel takes, also when many go on as one


@row(5, 6, 29)
async def test_those_who_stop_reading_cost_little_and_are_freed_and_nobody_else_notices(fake: ScriptedModel) -> None:
    fake.reply = LONG
    async with running_fleet(fake, send_timeout=1, drain_grace=0) as fleet:
        events = await collect(fleet, "Go", mode="fast")
        assert await read(fleet, events[0].run_id, "sse") == await read(fleet, events[0].run_id, "websocket") == events
        before, used = resident(fleet), descriptors(fleet)
        with ExitStack() as stalled, anyio.fail_after(60):
            for kind in KINDS * STALLED:
                await opened(stalled, kind, fleet, events[0].run_id)
            await streams_are(fleet, 2 * STALLED)
            assert await read(fleet, events[0].run_id, "sse") == events
            assert (resident(fleet) - before) / (2 * STALLED) < MEBIBYTE
            while descriptors(fleet) > used:
                await fleet.get("/health")
        with ExitStack() as stalled:
            for kind in KINDS:
                await opened(stalled, kind, fleet, events[0].run_id)
            await streams_are(fleet, 2)
            assert await fleet.stop() == 0
        assert "ERROR" not in fleet.output and "Traceback" not in fleet.output


async def opened(stack: ExitStack, kind: Kind, fleet: Fleet, run_id: str) -> socket.socket:
    return await to_thread.run_sync(stack.enter_context, reader(kind, fleet.url, run_id))


async def read(fleet: Fleet, run_id: str, kind: Kind) -> Events:
    with anyio.fail_after(30):
        return Events([event async for event in watch(fleet, run_id, transport=kind)])


@row(4)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a socket drop its packets, and frees such peers")
async def test_those_who_are_gone_without_a_word_are_freed(fake: ScriptedModel) -> None:
    held = anyio.Event()
    fake.reply = Reply("one two", hold_after=(1, held))
    async with running_fleet(fake, send_timeout=1, heartbeat=0.2) as fleet:
        run = await fleet.start("Go", mode="fast")
        await fake.wait_for(lambda: fake.open == 1 and fake.calls[0].tokens_sent == 1)
        used = descriptors(fleet)
        with ExitStack() as silent, anyio.fail_after(60):
            for kind in KINDS * 5:
                peer = await opened(silent, kind, fleet, run.run_id)
                await to_thread.run_sync(hear, peer, b"connected")
                go_silent(peer)
            while descriptors(fleet) > used:
                await fleet.get("/health")
        await streams_are(fleet, 0)
        held.set()
        assert (await read(fleet, run.run_id, "sse")).text == "one two"
        assert "ERROR" not in fleet.output and "Traceback" not in fleet.output


@row(3)
async def test_who_closes_its_half_is_taken_to_have_left_and_the_run_goes_on(fake: ScriptedModel) -> None:
    held = anyio.Event()
    fake.reply = Reply("one two", hold_after=(1, held))
    async with running_fleet(fake) as fleet:
        run = await fleet.start("Go", mode="fast")
        with anyio.fail_after(30):
            for kind in KINDS:
                with ExitStack() as halves:
                    peer = await opened(halves, kind, fleet, run.run_id)
                    await to_thread.run_sync(hear, peer, b"connected")
                    peer.shutdown(socket.SHUT_WR)
                    await to_thread.run_sync(_hear_the_end, peer)
            await streams_are(fleet, 0)
        held.set()
        assert (await read(fleet, run.run_id, "sse")).text == "one two"
        assert "ERROR" not in fleet.output and "Traceback" not in fleet.output


def _hear_the_end(peer: socket.socket) -> None:
    while peer.recv(4096):
        pass

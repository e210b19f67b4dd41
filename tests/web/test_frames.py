"""A hostile peer on the chat socket, byte by byte: what RFC 6455 forbids, and what it allows too much of."""

import os
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.faults.table import row
from tests.script import Paced
from tests.web.peer import chat
from tests.web.site import Site, site

TEXT, BINARY, CLOSE, PING, MORE, MIDDLE, END = 0x81, 0x82, 0x88, 0x89, 0x01, 0x00, 0x80
COMPRESSED = 0xC1


def frame(first: int, payload: bytes = b"", *, length: int | None = None, masked: bool = True) -> bytes:
    """One frame as it is on the wire (RFC 6455, section 5.2); `length` may lie."""
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    mask = os.urandom(4)
    if not masked:
        return head + payload
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


@asynccontextmanager
async def raw(it: Site, *extra: str) -> AsyncIterator[SocketStream]:
    host, port = it.url.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        lines = [
            "GET /api/ws/chat HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *extra,
        ]
        await stream.send("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive()
        assert answer.startswith(b"HTTP/1.1 101"), answer
        yield stream


async def close_code(stream: SocketStream) -> int | None:
    """The code of the close frame, None when the connection ends without one. Skips what is said before."""
    wire = BufferedByteReceiveStream(stream)
    try:
        while True:
            first, size = await wire.receive_exactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await wire.receive_exactly(2))
            payload = await wire.receive_exactly(size)
            if first == CLOSE:
                return int(struct.unpack("!H", payload[:2])[0])
    except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
        return None


BOMB = zlib.compressobj(wbits=-15)
ATTACKS = {
    "a frame that announces a gibibyte": ([frame(TEXT, b"x", length=2**30)], 1009),
    "a frame one byte too big": ([frame(TEXT, b"x" * 4097)], 1009),
    "characters that fit while their bytes do not": ([frame(TEXT, "é".encode() * 2049)], 1009),
    "fragments without an end": ([frame(MORE, b"x" * 1000), *[frame(MIDDLE, b"x" * 1000)] * 4], 1009),
    "text that is not UTF-8": ([frame(TEXT, b"\xff\xfe")], 1007),
    "a frame without a mask": ([frame(TEXT, b"{}", masked=False)], 1002),
    "an unknown opcode": ([frame(0x83)], 1002),
    "a ping that is too long": ([frame(PING, b"x" * 126)], 1002),
    "a continuation of nothing": ([frame(END, b"x")], 1002),
    "compression that was not agreed on": (
        [frame(COMPRESSED, BOMB.compress(b"x" * 1_000_000) + BOMB.flush(zlib.Z_SYNC_FLUSH))],
        1002,
    ),
}


@row(52)
@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_peer_that_breaks_the_rules_is_closed_and_harms_nobody(attack: str) -> None:
    frames, code = ATTACKS[attack]
    paced = Paced()
    async with site(paced, max_body=4096) as it, chat(it) as honest:
        await honest.say({"type": "task", "message": "hi"})
        assert (await honest.hear())["type"] == "connected"
        async with raw(it, "Sec-WebSocket-Extensions: permessage-deflate") as stream:
            try:
                for each in frames:
                    await stream.send(each)
            except anyio.BrokenResourceError:
                pass  # it has been closed already
            assert await close_code(stream) == code
        paced.step("still here")
        assert (await honest.hear())["delta"] == "still here"
        paced.finish()


async def test_half_a_frame_and_then_silence_is_the_first_frame_that_never_came() -> None:
    async with site(first_frame=0.1) as it, raw(it) as stream:
        await stream.send(frame(TEXT, b'{"type":"ping"}')[:7])
        assert await close_code(stream) == 1008


async def test_pings_are_answered_and_are_no_first_frame() -> None:
    async with site(first_frame=0.3) as it, raw(it) as stream:
        await stream.send(frame(PING, b"are you there"))
        assert b"are you there" in await stream.receive()
        assert await close_code(stream) == 1008


@row(52)
async def test_of_a_flood_of_pings_the_last_is_answered_and_few_others_while_nobody_reads() -> None:
    pings = 200_000  # 25 MB: more than the kernel takes
    paced = Paced()
    async with site(paced, patience=30) as it, chat(it) as honest, raw(it) as stream:
        await honest.say({"type": "task", "message": "hi"})
        assert (await honest.hear())["type"] == "connected"
        for start in range(0, pings, 1000):
            await stream.send(b"".join(frame(PING, b"%0119d" % number) for number in range(start, start + 1000)))
        paced.step("still here")
        assert (await honest.hear())["delta"] == "still here"
        wire, pongs, last = BufferedByteReceiveStream(stream), 0, b""
        while last != b"%0119d" % (pings - 1):
            head, size = await wire.receive_exactly(2)
            assert (head, size) == (0x8A, 119)
            last, pongs = await wire.receive_exactly(size), pongs + 1
        assert pongs < pings / 2
        paced.finish()

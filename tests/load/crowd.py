"""Clients that cost next to nothing: many streams over raw sockets, read by one loop.

Tokens are found in the bytes by their form, without parsing HTTP, SSE or WebSocket frames (servers do not mask theirs),
so reading costs a few microseconds a token and is never what limits the service. Each token is the moment the model
sent it at; the difference to now is how long it has been on its way.
"""

import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from socket import socket as Socket
from urllib.parse import urlsplit

from tests.load.child import Child
from tests.load.source import STAMP

PATIENCE = 300.0
"""Seconds for all streams together."""

_TOKENS = re.compile(rb'"delta":(?:\{"content":)?"((?:\d{8} )+)"')  # what has come at once may be one event
_ENDS = (b'"type":"done"', b"[DONE]")
_LONGEST = 64  # bytes of an end, or of the beginning of a token, that may be cut in two


@dataclass(frozen=True, slots=True)
class Ask:
    """The bytes that ask for one stream; over WebSocket, `frame` is sent once the handshake is answered."""

    request: bytes
    frame: bytes = b""


@dataclass
class Sample:
    """What one crowd has seen, and what it has cost the one it asked. Times in seconds."""

    streams: int
    tokens: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    faults: int = 0  # streams that have lost, doubled or reordered a token
    first: list[float] = field(default_factory=list)  # from asking to the first token, by stream
    whole: list[float] = field(default_factory=list)  # from asking to the end
    steady: list[float] = field(default_factory=list)  # how long tokens were on their way while all streams were open
    gaps: list[float] = field(default_factory=list)  # between two tokens of a stream in that time
    steady_cpu: float = 0.0  # CPU in that time; 0 when it was short

    def cpu_per_token(self) -> float:
        """In the steady time, if that was most of it; else in all, with what it takes to begin and to end."""
        return self.steady_cpu / len(self.steady) if self.steady_cpu else self.cpu / self.tokens


@dataclass(eq=False)
class _Reader:
    ask: Ask
    at: float  # when to begin
    socket: Socket = field(default_factory=Socket)
    asked: float = 0.0
    first: float = 0.0
    tokens: int = 0
    stamp: int = 0  # of the last token
    last: float = 0.0  # when it came
    ordered: bool = True
    tail: bytes = b""


class Crowd:
    """One after the other, evenly over `ramp` seconds, they ask; the crowd is through when all have their `done`."""

    def __init__(self, url: str, asks: Sequence[Ask], whom: Child, *, ramp: float = 0.0, tokens: int = 0) -> None:
        """`tokens` is how many each stream must bring; 0: any number."""
        self._expected = tokens
        place = urlsplit(url)
        self._address = (place.hostname or "127.0.0.1", place.port or 80)
        begin = time.monotonic()
        self._waiting = [_Reader(ask, begin + ramp * nth / len(asks)) for nth, ask in enumerate(asks)]
        self._waiting.reverse()
        self._readers: dict[int, _Reader] = {}
        self._whom = whom
        self._poll = select.epoll()
        self._arrived: list[tuple[float, float, float]] = []  # now, how long it took, since the last one of its stream
        self._all_at: tuple[float, float] | None = None  # the moment when all had begun, and the CPU time then
        self._end_at: tuple[float, float] | None = None  # the same when the first was through
        self._silent = len(asks)
        self.sample = Sample(len(asks))

    def read(self, until: Callable[["Crowd"], bool] = lambda crowd: False) -> Sample:
        """Until all are through, or `until` says so (then they stay open: see `close`)."""
        sample, began, cpu = self.sample, time.monotonic(), self._whom.cpu()
        while (self._readers or self._waiting) and not until(self):
            self._begin_due()
            pause = max(0.0, self._waiting[-1].at - time.monotonic()) if self._waiting else 1.0
            for number, _ in self._poll.poll(pause):
                self._hear(self._readers[number])
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"{len(self._readers)} of {sample.streams} streams had not ended.")
        sample.seconds, sample.cpu = time.monotonic() - began, self._whom.cpu() - cpu
        if self._all_at and self._end_at:
            start, end = self._all_at[0], self._end_at[0]
            steady = [each for each in self._arrived if start <= each[0] < end]
            sample.steady, sample.gaps = [each[1] for each in steady], [each[2] for each in steady]
            if end - start > sample.seconds / 2:
                sample.steady_cpu = self._end_at[1] - self._all_at[1]
        return sample

    @property
    def speaking(self) -> bool:
        """All have begun."""
        return self._all_at is not None

    def close(self) -> None:
        for reader in self._readers.values():
            reader.socket.close()
        self._readers.clear()
        self._waiting.clear()

    def _begin_due(self) -> None:
        while self._waiting and self._waiting[-1].at <= time.monotonic():
            reader = self._waiting.pop()
            reader.socket.connect(self._address)
            reader.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader.asked = time.monotonic()
            reader.socket.sendall(reader.ask.request)
            reader.socket.setblocking(False)
            self._readers[reader.socket.fileno()] = reader
            self._poll.register(reader.socket, select.EPOLLIN)

    def _hear(self, reader: _Reader) -> None:
        data = reader.socket.recv(262_144)
        now = time.monotonic()
        self.sample.bytes += len(data)
        if not data:
            raise ConnectionError(f"A stream broke off after: {reader.tail[-500:]!r}")
        data = reader.tail + data
        if reader.ask.frame and not reader.first and b"\r\n\r\n" in data:
            reader.socket.sendall(reader.ask.frame)
            reader.ask = Ask(reader.ask.request)
        end = 0
        for found in _TOKENS.finditer(data):
            end = found.end()
            for stamp in found[1].split():
                self._count(reader, int(stamp), now)
        if any(each in data for each in _ENDS):
            return self._through(reader, now)
        reader.tail = _cut_off(data, end) if reader.first else data

    def _count(self, reader: _Reader, stamp: int, now: float) -> None:
        if not reader.first:
            self._speaks(reader, now)
        since = (stamp - reader.stamp) % STAMP
        reader.ordered = reader.ordered and (since < STAMP / 2 or not reader.tokens)
        self._arrived.append((now, (int(now * 1_000_000) - stamp) % STAMP / 1_000_000, now - reader.last))
        reader.stamp, reader.last = stamp, now
        reader.tokens += 1
        self.sample.tokens += 1

    def _speaks(self, reader: _Reader, now: float) -> None:
        reader.first = reader.last = now
        self.sample.first.append(now - reader.asked)
        self._silent -= 1
        if not self._silent:
            self._all_at = now, self._whom.cpu()

    def _through(self, reader: _Reader, now: float) -> None:
        self._end_at = self._end_at or (now, self._whom.cpu())
        self.sample.whole.append(now - reader.asked)
        self.sample.faults += not reader.ordered or (self._expected > 0 and reader.tokens != self._expected)
        self._poll.unregister(reader.socket)
        del self._readers[reader.socket.fileno()]
        reader.socket.close()


def _cut_off(data: bytes, end: int) -> bytes:
    """What may be the beginning of a token or of the end, after the last token at `end`."""
    begun = data.rfind(b'"delta"', end)
    return data[begun:] if begun >= 0 else data[max(end, len(data) - _LONGEST) :]


def text_frame(text: bytes) -> bytes:
    """A WebSocket text frame from a client; the mask is zero, which masks nothing."""
    size = len(text)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    else:
        head = b"\x81\xfe" + size.to_bytes(2, "big") if size < 65536 else b"\x81\xff" + size.to_bytes(8, "big")
    return head + bytes(4) + text

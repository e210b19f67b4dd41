"""A server's connections, with bounds for what a peer may send and leave unread, and a polite parting.

uvicorn with httptools reads headers of any size for any time, in memory, and answers any number of pings whose pongs
nobody reads. A proxy in front refuses the former before; this is for those who reach the service without one. Bodies
are bounded where they are read (web/wire.py).

A request can be answered before its body is through: refused, for example. To close then would break the connection
under a peer that is still sending, and it might never read the answer (RFC 9112, section 9.6): so the rest is taken and
thrown away, for a short time.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_TIME = 10.0
"""Seconds for the request line and the headers, from the connection's or the request's first byte on."""
BESIDES = 262_144
"""Bytes of a request that are not its body: request line, headers, the marks of chunks, trailers. One read more may be
taken. A URL may have 65,535 of them."""
PONG = b"\x8a"
"""How such a frame begins."""

HANG_UP = "agentic_fleet.hang_up"
"""The ASGI extension by which an app closes the connection under an answer that it cannot finish."""


LINGER = 3.0
"""Seconds in which the rest of a body that nobody reads is thrown away; then the connection is closed all the same."""


class Connection(HttpToolsProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._besides = 0
        self._in_head = True
        self._deadline: Any = None
        self._whole = True  # all of the request has come
        self._leaving = False  # and then the connection is to be closed
        self._lingering: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def hang_up(self) -> None:
        """End an answer in the middle, without a word in the log. What is under way may still arrive: a slow reader
        gets further by it, and the kernel frees what a stalled one never takes (listener.py)."""
        self.cycle.disconnected = True  # for uvicorn, an unfinished answer is a failure of the app
        self.cycle.message_event.set()
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        if self._lingering:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._besides += len(data)
        super().data_received(data)
        if self._besides > BESIDES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: {"call": self.hang_up}}
        self._besides = 0
        self._whole = False
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers have no reader
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._deadline.cancel()
        super().on_headers_complete()
        if self.cycle:
            self.cycle.transport = _Parting(self.transport, self.part)  # type: ignore[assignment]  # all but close

    def on_body(self, body: bytes) -> None:
        self._besides -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._whole = True
        if self._leaving:
            self.transport.close()
        elif self._lingering:
            self._lingering.cancel()
            self._lingering = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._whole:
            self._linger()

    def part(self) -> None:
        """Close, when all of the request has come."""
        self._leaving = True
        if self._whole:
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._lingering = self._lingering or self.loop.call_later(LINGER, self.transport.close)

    def _expect_head(self) -> None:
        self._in_head = True
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_TIME, self._refuse, b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        asked = self.scope is not None  # a browser may open a connection for later, and wants no answer on it
        answering = self.cycle is not None and not self.cycle.response_complete
        if asked and not answering:
            self.transport.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()


class _Parting:
    """The transport, as the answer to a request sees it: closing it is the connection's affair."""

    def __init__(self, transport: Any, close: Callable[[], None]) -> None:
        self._transport = transport
        self.close = close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket that answers the newest of the pings that come while its peer reads nothing (RFC 6455, 5.5.3)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pong = b""

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
            return
        for frame in self.conn.data_to_send():  # all that one packet has caused
            if frame[:1] == PONG:
                self._pong = frame
            else:
                self.transport.write(frame)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._pong:
            self.transport.write(self._pong)
            self._pong = b""

"""A server's HTTP connection that bounds what a peer may send, and for how long, before its request is known.

uvicorn with httptools reads headers of any size for any time, in memory. A proxy in front refuses both before; this is
for those who reach the service without one. Bodies are bounded where they are read (web/wire.py).
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIME = 10.0
"""Seconds for the request line and the headers, from the connection's or the request's first byte on."""
BESIDES = 262_144
"""Bytes of a request that are not its body: request line, headers, the marks of chunks, trailers. One read more may be
taken. A URL may have 65,535 of them."""


class Connection(HttpToolsProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._besides = 0
        self._in_head = True
        self._deadline: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._besides += len(data)
        super().data_received(data)
        if self._besides > BESIDES:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._besides = 0
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers have no reader
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._deadline.cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._besides -= len(body)
        super().on_body(body)

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

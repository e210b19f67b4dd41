"""Readers on bare sockets, which stop reading, hang up by halves or are gone without a word."""

import ctypes
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

from tests.web.test_frames import TEXT, frame

Kind = Literal["sse", "websocket"]
SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h
_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""A packet filter of one instruction, which lets no byte pass."""


@contextmanager
def reader(kind: Kind, url: str, run_id: str) -> Iterator[socket.socket]:
    """A connection that has asked for a run's events and has room for few of them."""
    host = urlsplit(url)
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(10)
        peer.connect((host.hostname, host.port))
        if kind == "sse":
            peer.sendall(f"GET /api/v1/runs/{run_id}/events HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())
        else:
            upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            peer.sendall(f"GET /api/ws/chat HTTP/1.1\r\nHost: {host.netloc}\r\n{upgrade}{key}\r\n".encode())
            hear(peer, b"\r\n\r\n")
            peer.sendall(frame(TEXT, json.dumps({"type": "watch", "run_id": run_id}).encode()))
        yield peer


def hear(peer: socket.socket, until: bytes) -> None:
    heard = b""
    while until not in heard:
        part = peer.recv(4096)
        assert part, f"the connection ended before {until!r}"
        heard += part


def go_silent(peer: socket.socket) -> None:
    """From now on its machine neither takes nor acknowledges anything, as if a cable had been pulled."""
    program = struct.pack("HP", 1, ctypes.addressof(_NOTHING))
    peer.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

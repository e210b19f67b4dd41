"""The listening socket. Ours and not the server's, because connections inherit the listener's options.

A server that only closes politely never frees a peer that stops reading: the write buffer does not drain. The kernel
does it, by TCP_USER_TIMEOUT (RFC 5482) and keepalive; both exist on Linux, elsewhere the proxy's timeout must do.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from agentic_fleet.errors import BadSetting

SEND_BUFFER = 131_072
"""Bytes of kernel memory a stalled reader can hold; the default grows to several MB."""

# TCP_NODELAY: without it, answers on a kept connection wait 40 ms for the peer's delayed acknowledgement.
_OPTIONS = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@contextmanager
def listen(host: str, port: int, unread: float) -> Iterator[tuple[socket.socket, str]]:
    """A bound socket and its URL; port 0 takes a free one. BadSetting when the address cannot be had.

    `unread` is how many seconds sent bytes may stay unacknowledged. Its price: a floor of a few kB/s (for 30 s) under
    a reader's speed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in {**_OPTIONS, "TCP_USER_TIMEOUT": int(unread * 1000)}.items():
            if hasattr(socket, option):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise BadSetting(f"FLEET_HOST, FLEET_PORT: cannot listen on {host} port {port}: {error.strerror}") from None
        name, bound = listener.getsockname()[:2]
        yield listener, f"http://[{name}]:{bound}" if ":" in name else f"http://{name}:{bound}"

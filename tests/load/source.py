"""A model that costs next to nothing: an OpenAI-compatible endpoint whose tokens are the moments they are sent at.

`python -m tests.load.source`. A question says what it wants: ``load tokens=200 pace=20`` is 200 tokens, one every 20 ms
(0: as fast as they are taken; each is a write of its own, as from a real model). With ``hold`` the model begins with
one token and then falls silent. Decisions are answered at once, with the least that their schema allows.
"""

import heapq
import json
import random
import re
import select
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from agentic_fleet.testing import decision
from agentic_fleet.testing.reply import is_decision

STAMP = 100_000_000
"""Tokens are the monotonic clock in microseconds modulo this: 8 digits and a space."""

_WISH = re.compile(r"load tokens=(\d+) pace=(\d+)( hold)?")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEAD = (
    b'data: {"id":"chatcmpl-load","object":"chat.completion.chunk","created":1,"model":"load","choices":[{"index":0,'
)
_TOKEN = _HEAD + b'"delta":{"content":"%08d "},"finish_reason":null}]}\n\n'
_FIRST = _HEAD + b'"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
_LAST = (
    _HEAD + b'"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-load","object":"chat.completion.chunk","created":1,"model":"load","choices":[],'
    b'"usage":{"prompt_tokens":10,"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'
)
_CHUNKED = b"%x\r\n%s\r\n"
_PLAIN_TOKEN = b"%x\r\n%s\r\n" % (len(_TOKEN % 0), _TOKEN)


@dataclass(eq=False)
class Peer:
    """One connection; it may ask again when it has its answer."""

    socket: socket.socket
    asked: bytes = b""
    rest: bytes = b""  # what the kernel has not taken yet
    left: int = 0  # tokens
    total: int = 0
    pace: float = 0.0  # seconds
    held: bool = False

    def send(self, data: bytes) -> bool:
        """Whether all of it is on its way."""
        data = self.rest + data
        try:
            self.rest = data[self.socket.send(data) :]
        except BlockingIOError:
            self.rest = data
        return not self.rest

    def request(self) -> dict[str, Any] | None:
        """The body of a request, once it is whole."""
        head, found, body = self.asked.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not found or length is None or len(body) < int(length[1]):
            return None
        self.asked = body[int(length[1]) :]
        whole: dict[str, Any] = json.loads(body[: int(length[1])])
        return whole


@dataclass
class Source:
    listener: socket.socket
    _poll: "select.epoll" = field(default_factory=lambda: select.epoll())  # gevent, which locust brings, takes it away
    _peers: dict[int, Peer] = field(default_factory=dict)
    _eager: dict[int, Peer] = field(default_factory=dict)  # they take tokens as fast as we have them
    _due: list[tuple[float, int, Peer]] = field(default_factory=list)

    def serve(self) -> None:
        """Until killed."""
        self._poll.register(self.listener, select.EPOLLIN)
        while True:
            for number, event in self._poll.poll(self._patience()):
                if number == self.listener.fileno():
                    self._welcome()
                elif event & ~select.EPOLLOUT:
                    self._hear(self._peers[number])
                else:
                    self._resume(self._peers[number])
            self._speak()

    def _patience(self) -> float:
        if self._eager:
            return 0
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1

    def _welcome(self) -> None:
        connection, _ = self.listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peers[connection.fileno()] = Peer(connection)
        self._poll.register(connection, select.EPOLLIN)

    def _hear(self, peer: Peer) -> None:
        try:
            data = peer.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return self._forget(peer)
        peer.asked += data
        if request := peer.request():
            self._answer(peer, request)

    def _forget(self, peer: Peer) -> None:
        number = peer.socket.fileno()
        self._poll.unregister(number)
        self._eager.pop(number, None)
        del self._peers[number]
        peer.left = 0
        peer.socket.close()

    def _answer(self, peer: Peer, request: dict[str, Any]) -> None:
        if is_decision(request):
            said = json.dumps("".join(decision(request).tokens)).encode()
            frame = _HEAD + b'"delta":{"content":%s},"finish_reason":null}]}\n\n' % said + _LAST % (1, 11)
            self._send(peer, _ANSWER + _CHUNKED % (len(frame), frame) + b"0\r\n\r\n")
            return
        found = _WISH.search(json.dumps(request["messages"]))
        tokens, pace, hold = found.groups() if found else ("1", "0", None)
        peer.total, peer.pace, peer.held = int(tokens), int(pace) / 1000, bool(hold)
        peer.left = 1 if hold else peer.total
        self._send(peer, _ANSWER + _CHUNKED % (len(_FIRST), _FIRST))
        if peer.pace:  # streams that begin together do not stay in step
            heapq.heappush(self._due, (time.monotonic() + random.random() * peer.pace, id(peer), peer))
        else:
            self._eager[peer.socket.fileno()] = peer

    def _send(self, peer: Peer, data: bytes) -> None:
        try:
            if peer.send(data):
                return
        except OSError:
            return self._forget(peer)
        self._eager.pop(peer.socket.fileno(), None)
        self._poll.modify(peer.socket, select.EPOLLIN | select.EPOLLOUT)

    def _resume(self, peer: Peer) -> None:
        self._poll.modify(peer.socket, select.EPOLLIN)
        if peer.left and not peer.pace:
            self._eager[peer.socket.fileno()] = peer
        self._send(peer, b"")

    def _speak(self) -> None:
        """A token each from everybody whose turn it is."""
        for peer in list(self._eager.values()):
            self._token(peer)
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            due, _, peer = heapq.heappop(self._due)
            self._token(peer)
            if peer.left:
                heapq.heappush(self._due, (due + peer.pace, id(peer), peer))

    def _token(self, peer: Peer) -> None:
        if not peer.left:
            return
        peer.left -= 1
        data = _PLAIN_TOKEN % (time.monotonic_ns() // 1000 % STAMP)
        if not peer.left and not peer.held:
            ending = _LAST % (peer.total, peer.total + 10)
            data += _CHUNKED % (len(ending), ending) + b"0\r\n\r\n"
        if not peer.left:
            self._eager.pop(peer.socket.fileno(), None)
        self._send(peer, data)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listener.setblocking(False)
    print(f"source on http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    Source(listener).serve()


if __name__ == "__main__":
    main()

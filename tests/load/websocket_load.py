"""Users who ask over one WebSocket, question after question. One line starts it all: `scripts/load websocket`."""

import json

from locust import User, constant, task
from websockets.sync.client import ClientConnection, connect

from tests.load.answers import WISH, report


class Talker(User):
    """Asks again as soon as it has its answer."""

    wait_time = constant(0)
    socket: ClientConnection

    def on_start(self) -> None:
        self.socket = connect(f"{str(self.host).replace('http', 'ws', 1)}/api/ws/chat", compression=None)

    def on_stop(self) -> None:
        self.socket.close()

    @task
    def ask(self) -> None:
        self.socket.send(json.dumps({"type": "task", "message": WISH.question(), "mode": "fast"}))
        report("WebSocket", (str(body) for body in self.socket))

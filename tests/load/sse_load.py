"""Users who ask over SSE and read the answer to its end. One line starts it all: `scripts/load sse`.

They use the stream for pages, which joins tokens while a page draws (web/pacing.py): hence the silences of 200 ms.
"""

from collections.abc import Iterator
from uuid import uuid4

import requests
from locust import User, constant, task

from tests.load.answers import WISH, report


class Reader(User):
    """Asks again as soon as it has its answer."""

    wait_time = constant(0)

    def on_start(self) -> None:
        self.session = requests.Session()

    @task
    def ask(self) -> None:
        query = {"message": WISH.question(), "mode": "fast"}
        url = f"{self.host}/api/chat/load-{uuid4().hex}/stream"
        with self.session.get(url, params=query, stream=True, timeout=60) as response:
            response.raise_for_status()
            report("SSE", _bodies(response))


def _bodies(response: requests.Response) -> Iterator[str]:
    for line in response.iter_lines(chunk_size=None):
        if line.startswith(b"data: "):
            yield line[6:].decode()

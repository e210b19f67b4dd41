"""A client of the service's own API, in the few calls that commands make."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import anyio

Event = dict[str, Any]

ATTEMPTS = 5
"""Reconnections in a row without a new event before giving up."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)  # heartbeats come every 15 s


class Unreachable(Exception):
    pass


class Refused(Exception):
    pass


class Client:
    """Of the service at `base`, which may have a path of its own, and no slash at its end. `session` has the key.

    Calls raise Unreachable, Refused with what the service says, and aiohttp's errors.
    """

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.base = base
        self.has_key = "Authorization" in session.headers
        self._session = session

    async def get(self, path: str, **query: str | int) -> Any:
        return await self._call("GET", path, params=query)

    async def health(self) -> dict[str, Any]:
        """Of a service that is not well, too."""
        found: dict[str, Any] = await self._call("GET", "/health", fine=503)
        return found

    async def post(self, path: str, body: object) -> dict[str, Any]:
        answer: dict[str, Any] = await self._call("POST", path, json=body)
        return answer

    async def events(self, run: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """The run's events behind that cursor, each once, across lost connections."""
        cursor, attempts = after or f"{run}:0", 0
        while attempts < ATTEMPTS:
            attempts += 1
            try:
                url = f"{self.base}/api/v1/runs/{run}/events"
                async with self._session.get(url, headers={"Last-Event-ID": cursor}) as response:
                    if response.status == 204:  # the run is over, and everything has been read
                        return
                    if 400 <= response.status < 500:
                        raise _refusal(await response.json(content_type=None), response.status)
                    if response.status != 200:
                        raise Unreachable(f"The stream was refused ({response.status}).")
                    async for line in response.content:
                        if line.startswith(b"id: "):
                            cursor, attempts = line[4:].decode().strip(), 0
                        elif line.startswith(b"data: "):
                            event: Event = json.loads(line[6:])
                            yield event
                            if event["type"] == "done":
                                return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await anyio.sleep(0.2 * 2**attempts)
        raise Unreachable("The service cannot be reached any more; the run may go on there.")

    async def _call(self, method: str, path: str, fine: int = 200, **more: Any) -> Any:
        headers = {"Accept": "application/json"}
        async with self._session.request(method, f"{self.base}{path}", headers=headers, **more) as response:
            try:
                answer = await response.json(content_type=None)
            except ValueError:
                answer = None
            if not isinstance(answer, dict | list):
                raise Unreachable(
                    f"What answers at {response.url.origin()} is no AgenticFleet: try --url or FLEET_PORT."
                )
            if response.status >= 400 and response.status != fine:
                raise _refusal(answer, response.status)
            return answer


def _refusal(answer: Any, status: int) -> Refused:
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return Refused(f"The service refused: {detail} ({status})")


def authorization(environ: Mapping[str, str]) -> dict[str, str]:
    """FLEET_API_KEY, or else the first of FLEET_API_KEYS."""
    key = environ.get("FLEET_API_KEY") or environ.get("FLEET_API_KEYS", "").partition(",")[0].partition(":")[2]
    return {"Authorization": f"Bearer {key.strip()}"} if key.strip() else {}


def host(environ: Mapping[str, str]) -> dict[str, str]:
    """The name under which a service with these settings wants to be asked, also by who knows its address."""
    name = environ.get("FLEET_ALLOWED_HOSTS", "").partition(",")[0].strip()
    return {"Host": name} if name else {}

"""A model behind an OpenAI-compatible HTTP endpoint: one request in, a stream of chunks out.

Spoken by hand over one shared session instead of through a provider's SDK: a tenth of the cost per token, and closing
the stream closes the socket in the same instant, so nobody pays for tokens nobody reads. Every step that ends a
stream is synchronous, so it also works where cancellation is delivered again and again (anyio's scopes).
"""

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio

from agentic_fleet import jsontext
from agentic_fleet.errors import ModelFailed
from agentic_fleet.workflows.chunks import DONE, Lines, Numbered, decode, joined
from agentic_fleet.workflows.completions import Chunk
from agentic_fleet.workflows.refusals import Refusal, read_refusal, unquoted

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024  # sockets of the shared session; more streams than that wait, before files run out
CONNECT_TIMEOUT = 10.0  # seconds to reach the endpoint, TLS included
CLOSING_TIMEOUT = 0.2  # seconds for the end of an answer after its [DONE], so that its connection can be used again
PAUSES = (0.25, 0.5)  # seconds before the second and the third try, stretched by up to half at random
MAX_RETRY_AFTER = 10.0  # seconds; an endpoint that wants more is as good as down for someone who waits for an answer

BROKEN_OFF = "The model broke off in mid-answer."

_DISPENSABLE = {
    "stream_options": "",
    "response_format": "",
    "temperature": "",
    "reasoning_effort": "",
    "seed": "",
    "max_tokens": "max_completion_tokens",
}
"""What a request can do without, and what takes its place. Many OpenAI-compatible servers lack the first two, some of
OpenAI's own models refuse the others; which is which shows only when they are asked."""


Tell = Callable[[ModelFailed | None], None]


class Endpoint:
    """A `Completions`. `url` is the whole address of ``chat/completions`` with its query, `headers` carry the key.

    `timeout` is in seconds of silence: before the headers, and between two pieces of the answer. `session` stays its
    owner's. `tell` hears of each request why it got no answer, or None. What the endpoint has refused once (see
    `_DISPENSABLE`) is not sent to it again by this object.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        headers: Mapping[str, str],
        model: str,
        name: str,
        timeout: float,
        constrained: bool = True,
        tell: Tell = lambda failure: None,
    ) -> None:
        self.name = name
        self.constrained = constrained
        self._session = session
        self._url = url
        self._keys = tuple(headers.values())
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",  # a compressing proxy would hold tokens back
            **headers,
        }
        self._model = model
        self._timeout = timeout
        self._tell = tell
        self._proxy = _proxy(url)
        self._refused: set[str] = set()

    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """See `Completions`. Tries three times to get the first byte of an answer, and never again after it."""
        try:
            response, piece = await self._begin(body)
        except ModelFailed as failure:
            self._tell(failure)
            raise
        self._tell(None)
        lines, numbered = Lines(), Numbered()
        finished = False
        try:
            while piece:
                found = lines.feed(piece)
                told = found[: found.index(DONE)] if DONE in found else found
                for chunk in joined(map(decode, told)):
                    chunk = numbered.complete(self._checked(chunk, body))
                    finished = finished or any(choice.get("finish_reason") for choice in chunk.get("choices") or ())
                    yield chunk
                if told is not found:
                    await _end(response)
                    return
                piece = await self._read(response, finished)
        finally:
            response.close()
        if not finished:
            raise ModelFailed(BROKEN_OFF)

    async def _begin(self, body: Mapping[str, Any]) -> tuple[aiohttp.ClientResponse, bytes]:
        """An answer and its first bytes. The caller closes it."""
        for pause in PAUSES:
            try:
                return await self._try(body)
            except _Passing as passing:
                wait = passing.retry_after or pause * random.uniform(1, 1.5)
                if wait > MAX_RETRY_AFTER:
                    raise passing.failure from passing.__cause__
                logger.info("model %s: trying again in %.2f s (%s)", self.name, wait, passing.failure)
            await anyio.sleep(wait)
        try:
            return await self._try(body)
        except _Passing as passing:
            raise passing.failure from passing.__cause__

    async def _try(self, body: Mapping[str, Any]) -> tuple[aiohttp.ClientResponse, bytes]:
        """One try; asked again at once when the endpoint refuses a key of the request that it can do without."""
        while True:
            sent = self._request(body)
            try:
                response = await self._post(sent)
                try:
                    if response.status == 200:
                        return response, await self._first(response)
                    refusal = await read_refusal(response)
                except BaseException:
                    response.close()
                    raise
            except aiohttp.SocketTimeoutError as error:
                raise self._silence() from error
            except (aiohttp.ClientError, OSError) as error:
                raise _Passing(ModelFailed("The model endpoint cannot be reached.")) from error
            response.close()
            if not self._learn(sent, refusal):
                self._give_up(refusal, sent)

    async def _post(self, sent: dict[str, Any]) -> aiohttp.ClientResponse:
        return await self._session.post(
            self._url,
            data=jsontext.encode(sent),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=self._timeout),
            allow_redirects=False,  # would turn the POST into a GET
            proxy=self._proxy,
        )

    async def _first(self, response: aiohttp.ClientResponse) -> bytes:
        if not (piece := await response.content.readany()):
            raise _Passing(ModelFailed("The model sent nothing."))
        return piece

    async def _read(self, response: aiohttp.ClientResponse, finished: bool) -> bytes:
        """The next bytes; none at the end."""
        try:
            return await response.content.readany()
        except aiohttp.SocketTimeoutError as error:
            raise self._silence() from error
        except (aiohttp.ClientError, OSError) as error:
            if finished:  # only the usage is missing
                return b""
            raise ModelFailed(BROKEN_OFF) from error

    def _request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        request = {**body, "model": self._model, "stream": True, "stream_options": {"include_usage": True}}
        for key in self._refused & request.keys():
            value = request.pop(key)
            if other := _DISPENSABLE[key]:
                request[other] = value
        return request

    def _learn(self, sent: Mapping[str, Any], refusal: Refusal) -> bool:
        """Whether the request was refused for a key that can be left out; it is from now on."""
        for key, other in _DISPENSABLE.items():
            if key in sent and refusal.blames(key) and other in refusal.message:
                logger.warning("model %s does not take %s: sent no more", self.name, key)
                self._refused.add(key)
                if key == "response_format":
                    self.constrained = False
                return True
        return False

    def _give_up(self, refusal: Refusal, sent: Mapping[str, Any]) -> NoReturn:
        logger.warning("model %s answered %d: %r", self.name, refusal.status, self._unquoted(refusal.message, sent))
        if refusal.passing:
            raise _Passing(refusal.failure, refusal.retry_after)
        raise refusal.failure

    def _checked(self, chunk: Chunk, body: Mapping[str, Any]) -> Chunk:
        if problem := chunk.get("error"):
            logger.warning("model %s broke off: %r", self.name, self._unquoted(str(problem), body))
            raise ModelFailed(BROKEN_OFF)
        return chunk

    def _unquoted(self, text: str, body: Mapping[str, Any]) -> str:
        return unquoted(text, body.get("messages"), (key.removeprefix("Bearer ") for key in self._keys))

    def _silence(self) -> ModelFailed:
        return ModelFailed(f"The model sent nothing for {self._timeout:g} seconds.")


@asynccontextmanager
async def open_session() -> AsyncIterator[aiohttp.ClientSession]:
    """The one session of the process: its connections are shared by all endpoints. No cookies are kept."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
    )
    try:
        yield session
    finally:
        with anyio.move_on_after(5, shield=True):
            await session.close()


class _Passing(Exception):
    """A failure that may pass: worth another try, if any is left."""

    def __init__(self, failure: ModelFailed, retry_after: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.retry_after = retry_after  # seconds


async def _end(response: aiohttp.ClientResponse) -> None:
    with anyio.move_on_after(CLOSING_TIMEOUT):
        try:
            while await response.content.readany():
                pass
        except (aiohttp.ClientError, OSError):
            pass  # the answer is whole


def _proxy(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for `url`.

    aiohttp's own `trust_env` would also read ~/.netrc, and refuse to send our key when it finds another there.
    """
    address = urlsplit(url)
    return None if proxy_bypass(address.hostname or "") else getproxies().get(address.scheme)

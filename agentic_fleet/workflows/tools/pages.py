"""The built-in tool `fetch_url`: a public page as text.

Whom it may talk to is decided in addresses.py. Everything else here is a bound: on the way (redirects), on the time,
on the size, on the kind of thing that comes back. No cookie is kept and no page is cached: the calls of different
people share nothing.
"""

from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager

import aiohttp
import anyio
from anyio import to_thread
from yarl import URL

from agentic_fleet import __version__
from agentic_fleet.workflows.tools.addresses import Address, NotPublic, guarded_sockets, is_public
from agentic_fleet.workflows.tools.readable import readable
from agentic_fleet.workflows.tools.spec import ToolFailed

PORTS = frozenset({80, 443})  # where pages are; other ports have other services behind them
MAX_REDIRECTS = 5
MAX_BYTES = 1_048_576  # of a page, decompressed; the rest is not read
TIME_LIMIT = 20.0  # seconds for one page, redirects included; less than a tool's default
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEXTS = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/javascript")
_HTML = frozenset({"text/html", "application/xhtml+xml"})


class Pages:
    """Stateless between calls. `session` stays its owner's."""

    def __init__(self, session: aiohttp.ClientSession, *, ports: Container[int]) -> None:
        self._session = session
        self._ports = ports

    async def fetch_url(self, url: str) -> str:
        """Read a public web page (http or https address) as text."""
        try:
            with anyio.fail_after(TIME_LIMIT):
                return await self._fetch(url)
        except TimeoutError:
            raise ToolFailed(f"The page took longer than {TIME_LIMIT:g} s.") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, NotPublic):
                raise ToolFailed(f"{error.host} is not a public address, so it is not fetched.") from None
            raise ToolFailed(f"{error.host} could not be reached.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ToolFailed(f"The page could not be fetched ({type(error).__name__}).") from None

    async def _fetch(self, url: str) -> str:
        target = self._checked(URL(url.strip()))
        for _ in range(MAX_REDIRECTS + 1):
            async with self._session.get(target, allow_redirects=False) as response:
                if response.status not in _REDIRECTS or not (location := response.headers.get("Location")):
                    return await _text(response)
            target = self._checked(target.join(URL(location)))
        raise ToolFailed(f"The page redirects more than {MAX_REDIRECTS} times.")

    def _checked(self, url: URL) -> URL:
        if url.scheme not in ("http", "https") or not url.host:
            raise ToolFailed("Only full http and https addresses can be fetched.")
        if url.user is not None or url.password is not None:
            raise ToolFailed("An address with a user name or a password in it is not fetched.")
        if url.port not in self._ports:
            raise ToolFailed(f"Port {url.port} is not one that web pages are fetched from.")
        return url


@asynccontextmanager
async def open_pages(
    *, allowed: Callable[[Address], bool] = is_public, ports: Container[int] = PORTS
) -> AsyncIterator[Pages]:
    """Pages for the block. `allowed` and `ports` are for tests, whose servers are on loopback."""
    # force_close: a kept connection would be used again for its host without a look at the address
    connector = aiohttp.TCPConnector(socket_factory=guarded_sockets(allowed), force_close=True, limit=64)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        headers={"User-Agent": f"AgenticFleet/{__version__}", "Accept": "text/html, text/*;q=0.9, application/json"},
    ) as session:
        yield Pages(session, ports=ports)


async def _text(response: aiohttp.ClientResponse) -> str:
    if response.status >= 400:
        raise ToolFailed(f"{response.host} answered with status {response.status}.")
    kind = response.content_type
    if not kind.startswith(_TEXTS) and not kind.endswith(("+json", "+xml")):
        raise ToolFailed(f"This is not text but {kind}.")
    text = _decoded(await _body(response), response.charset)
    # in a thread: a mebibyte of markup takes up to a third of a second
    return await to_thread.run_sync(readable, text, abandon_on_cancel=True) if kind in _HTML else text


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Its first MAX_BYTES bytes."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) >= MAX_BYTES:
            response.close()
            break
    return bytes(body[:MAX_BYTES])


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except LookupError:  # a charset nobody has heard of
        return body.decode("utf-8", errors="replace")

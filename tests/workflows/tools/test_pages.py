"""Public pages only, within bounds."""

import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import pytest

from agentic_fleet.testing.server import serving
from agentic_fleet.workflows.tools import pages as pages_module
from agentic_fleet.workflows.tools.addresses import Address, is_public
from agentic_fleet.workflows.tools.pages import Pages, open_pages
from agentic_fleet.workflows.tools.spec import ToolFailed

HOME = ip_address("127.0.0.1")


@dataclass
class Site:
    """Answers by path, and keeps the requests."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    seen: list[tuple[str, dict[bytes, bytes]]] = field(default_factory=list)
    url: str = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append((scope["path"], dict(scope["headers"])))
        status, headers, body = self.answers.get(scope["path"], (404, {}, b""))
        raw = [(key.encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def site_and_pages(
    allowed: Callable[[Address], bool] = lambda address: address == HOME,
) -> AsyncIterator[tuple[Site, Pages]]:
    site = Site()
    async with serving(site, lifespan="off") as url, open_pages(allowed=allowed, ports=range(65536)) as pages:
        site.url = url
        yield site, pages


def html(body: str) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "text/html; charset=utf-8"}, body.encode()


def to(location: str) -> tuple[int, dict[str, str], bytes]:
    return 302, {"location": location}, b""


async def test_a_page_comes_as_text() -> None:
    async with site_and_pages() as (site, pages):
        site.answers["/"] = html("<title>T</title><p>Grüße</p>")
        assert await pages.fetch_url(site.url) == "T\n\nGrüße"


async def test_json_and_plain_text_come_as_they_are() -> None:
    async with site_and_pages() as (site, pages):
        site.answers["/a"] = (200, {"content-type": "application/ld+json"}, b'{"a": 1}')
        site.answers["/b"] = (200, {"content-type": "text/plain; charset=iso-8859-1"}, "é".encode("latin-1"))
        site.answers["/c"] = (200, {"content-type": "text/plain; charset=nonsense"}, b"<b>")
        assert [await pages.fetch_url(site.url + path) for path in ("/a", "/b", "/c")] == ['{"a": 1}', "é", "<b>"]


async def test_redirects_are_followed_but_not_for_ever() -> None:
    async with site_and_pages() as (site, pages):
        site.answers |= {"/1": to("/2"), "/2": to(f"{site.url}/3"), "/3": html("here"), "/loop": to("/loop")}
        assert await pages.fetch_url(f"{site.url}/1") == "here"
        with pytest.raises(ToolFailed, match="more than 5 times"):
            await pages.fetch_url(f"{site.url}/loop")
        assert [path for path, _ in site.seen].count("/loop") == 6


async def test_no_cookie_goes_from_one_call_to_the_next() -> None:
    async with site_and_pages() as (site, pages):
        site.answers["/"] = (200, {"content-type": "text/plain", "set-cookie": "a=b; Path=/"}, b"x")
        name = site.url.replace("127.0.0.1", "localhost")  # cookies are for names
        await pages.fetch_url(name)
        await pages.fetch_url(name)
        assert all(b"cookie" not in headers for _, headers in site.seen)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_only_the_first_mebibyte_is_read(encoding: str) -> None:
    async with site_and_pages() as (site, pages):
        body = b"x" * (3 * pages_module.MAX_BYTES)
        headers = {"content-type": "text/plain", "content-encoding": encoding}
        site.answers["/"] = (200, headers, gzip.compress(body) if encoding == "gzip" else body)
        assert len(await pages.fetch_url(site.url)) == pages_module.MAX_BYTES


async def test_what_is_no_text_or_no_success_is_refused() -> None:
    async with site_and_pages() as (site, pages):
        site.answers["/picture"] = (200, {"content-type": "image/png"}, b"\x89PNG")
        with pytest.raises(ToolFailed, match="image/png"):
            await pages.fetch_url(f"{site.url}/picture")
        with pytest.raises(ToolFailed, match="404"):
            await pages.fetch_url(f"{site.url}/nowhere")


async def test_a_server_that_stays_silent_runs_into_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "TIME_LIMIT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with open_pages(allowed=lambda _: True, ports=range(65536)) as pages:
            with pytest.raises(ToolFailed, match="longer than"):
                await pages.fetch_url(f"http://127.0.0.1:{silent.getsockname()[1]}/")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_no_spelling_of_loopback_is_reached(host: str) -> None:
    """The server listens, on a port that is allowed: only the address keeps the call from it."""
    async with site_and_pages(is_public) as (site, pages):
        with pytest.raises(ToolFailed):
            await pages.fetch_url(f"http://{host}:{site.url.rpartition(':')[2]}/")
        assert site.seen == []


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "[fd00::1]", "[fe80::1]"])
async def test_private_networks_are_refused_by_name(host: str) -> None:
    async with open_pages() as pages:
        with pytest.raises(ToolFailed, match="not a public address"):
            await pages.fetch_url(f"http://{host}/latest/meta-data")


async def test_a_redirect_to_where_nobody_may_go_is_not_followed() -> None:
    async with site_and_pages() as (site, pages):
        port = site.url.rpartition(":")[2]
        site.answers |= {"/1": to(f"http://127.0.0.2:{port}/secret"), "/2": to("file:///etc/passwd")}
        with pytest.raises(ToolFailed, match=r"127\.0\.0\.2 is not a public address"):
            await pages.fetch_url(f"{site.url}/1")
        with pytest.raises(ToolFailed, match="http and https"):
            await pages.fetch_url(f"{site.url}/2")
        assert [path for path, _ in site.seen] == ["/1", "/2"]


async def test_a_name_is_judged_anew_each_time_it_is_used() -> None:
    """DNS rebinding: what was allowed a moment ago is not trusted now."""
    verdicts = iter([True, False])
    async with site_and_pages(lambda _: next(verdicts)) as (site, pages):
        site.answers["/"] = to("/again")
        with pytest.raises(ToolFailed, match="not a public address"):
            await pages.fetch_url(site.url)
        assert [path for path, _ in site.seen] == ["/"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@example.org/",
        "http://example.org:22/",
        "https://example.org:8443/",
        "http://[::1",
        "http://exa mple.org/",
        "http://example.org:99999/",
        "javascript:alert(1)",
    ],
)
async def test_only_plain_web_addresses_are_taken(url: str) -> None:
    async with open_pages(allowed=lambda _: False) as pages:
        with pytest.raises(ToolFailed):
            await pages.fetch_url(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::1",
        "64:ff9b::7f00:1",
        "2001:0:7f00:1::",
    ],
)
def test_these_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_these_are(address: str) -> None:
    assert is_public(ip_address(address))

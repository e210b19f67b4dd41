"""Whom a request comes from, when others may have passed it on."""

import pytest

from agentic_fleet.errors import BadSetting
from agentic_fleet.proxies import client_of, networks
from agentic_fleet.settings import Settings

TRUSTED = networks(("127.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # forged directly: the peer is nobody's proxy
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the left one is what that client has sent
        ("127.0.0.1", "198.51.100.1, 203.0.113.9, 10.1.2.3, 10.1.2.4", "203.0.113.9"),
        ("127.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "10.9.9.9, 10.1.2.3", "10.9.9.9"),  # everybody is trusted: then the first one asks
        ("127.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("127.0.0.1", "2001:0db8:0::0007", "2001:db8::7"),
        ("::ffff:127.0.0.1", "203.0.113.9", "203.0.113.9"),  # as a listener for both families names it
        ("fd00::12", "::ffff:203.0.113.9", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9, unknown, 10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "203.0.113.9, ", "127.0.0.1"),
        ("127.0.0.1", "a\x1b[31m\nb", "127.0.0.1"),
        ("127.0.0.1", "9" * 10_000, "127.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_client_is_the_last_one_that_is_no_trusted_proxy(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded.split(","), TRUSTED) == client


def test_nobody_is_trusted_unless_listed() -> None:
    assert client_of("127.0.0.1", ["203.0.113.9"], networks(Settings().trusted_proxies)) == "127.0.0.1"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        *(({"FLEET_ROOT_PATH": path}, "FLEET_ROOT_PATH must be like /fleet") for path in ("/", "fleet", "/fleet/")),
        *(({"FLEET_ROOT_PATH": path}, "FLEET_ROOT_PATH must be like") for path in ("/a//b", "/a/../b", "/.", "/a b")),
        *(({"FLEET_ROOT_PATH": path}, "FLEET_ROOT_PATH must be like") for path in ("/ä", "/a%2f", "/a?b", "/" * 300)),
        ({"FLEET_ROOT_PATH": "/api"}, "must not begin as the service's own paths do"),
        ({"FLEET_ROOT_PATH": "/v1/fleet"}, "must not begin as the service's own paths do"),
        ({"FLEET_TRUSTED_PROXIES": "*"}, "FLEET_TRUSTED_PROXIES must be addresses and networks"),
        ({"FLEET_TRUSTED_PROXIES": "127.0.0.1, proxy.example"}, "'proxy.example'"),
        ({"FLEET_TRUSTED_PROXIES": "10.0.0.1/8"}, "has host bits set"),
        ({"FLEET_TRUSTED_PROXIES": "0.0.0.0/0"}, "trusts everybody"),
        ({"FLEET_TRUSTED_PROXIES": "::/0"}, "trusts everybody"),
    ],
)
def test_what_would_be_taken_wrongly_is_refused_at_start(environ: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        Settings.from_env(environ)


def test_paths_and_proxies_are_read() -> None:
    given = Settings.from_env(
        {"FLEET_ROOT_PATH": "/tools/fleet-2.1", "FLEET_TRUSTED_PROXIES": "127.0.0.1, 172.16.0.0/12,fd00::/8"}
    )
    assert (given.root_path, len(networks(given.trusted_proxies))) == ("/tools/fleet-2.1", 3)

"""What stands in front of the service: which peers may speak for others, whom they speak for, and under which path.

Anybody can send forwarded headers, so they count only from listed addresses, read from the right: each trusted proxy
has appended the address it was called from, and the first one that is not a proxy's is the client's. What stands
further left was sent by that client and may be forged.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import cache

from agentic_fleet.errors import BadSetting

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_OWN = frozenset({"api", "v1"})
"""First segments of the service's own paths: under such a root path nobody could tell whether a proxy strips it."""
_WITH_PORT = re.compile(r"\[(?P<v6>[^\]]*)\](?::\d+)?|(?P<v4>[^:]*):\d+")


def check_root_path(text: str) -> None:
    """Raises BadSetting. Empty is the root."""
    if text and (not _ROOT_PATH.fullmatch(text) or len(text) > 200):
        raise BadSetting(
            f"FLEET_ROOT_PATH must be like /fleet (letters, digits, - . _ ~; no slash at the end), not {text!r}"
        )
    if text.split("/")[1:2] and text.split("/")[1] in _OWN:
        raise BadSetting(f"FLEET_ROOT_PATH must not begin as the service's own paths do, {text!r} does")


@cache
def networks(listed: tuple[str, ...]) -> tuple[Network, ...]:
    """FLEET_TRUSTED_PROXIES, parsed. Raises BadSetting, also for a network that holds everybody."""
    found = []
    for text in listed:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise BadSetting(f"FLEET_TRUSTED_PROXIES must be addresses and networks: {error}") from None
        if network.prefixlen == 0:
            raise BadSetting(f"FLEET_TRUSTED_PROXIES: {text} trusts everybody, so anybody could forge an address")
        found.append(network)
    return tuple(found)


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    address = _address(peer)
    return address is not None and any(address in network for network in trusted)


def client_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Who is asking: the last of `forwarded` (X-Forwarded-For) that no trusted proxy stands at, seen from `peer`.

    An entry that is no address ends the search: then the proxy that passed it on is all that is known.
    """
    client = peer
    for entry in reversed(forwarded):
        if not is_trusted(client, trusted):
            break
        address = _address(entry)
        if address is None:
            break
        client = str(address)
    return client


def _address(text: str) -> Address | None:
    """As in X-Forwarded-For: some proxies add the port."""
    text = text.strip()
    if found := _WITH_PORT.fullmatch(text):
        text = found["v6"] or found["v4"] or ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

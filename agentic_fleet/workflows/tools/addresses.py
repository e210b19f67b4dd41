"""Which addresses on the network anybody may be sent to: the public ones.

A model chooses what `fetch_url` fetches, and a stranger may have told the model what to choose. So nothing of ours
may be within its reach: no loopback, no private network, no cloud's metadata service (OWASP: server-side request
forgery). The check is made on the very address that is being connected to, at the moment it is, whether it was
written in the URL or came from a name; so a name that resolves to something else the second time gains nothing.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import aiohttp

Address = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the IPv4 address stands in the last 32 bits


class NotPublic(OSError):
    """The address is not one that may be connected to."""

    def __str__(self) -> str:
        return "not a public address"


def is_public(address: Address) -> bool:
    """Whether strangers may be sent there. An IPv6 address that stands for an IPv4 one is judged by that."""
    if isinstance(address, IPv6Address):
        if inner := address.ipv4_mapped or _translated(address):
            return is_public(inner)
        if address.is_site_local or (address.sixtofour and not is_public(address.sixtofour)):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def guarded_sockets(allowed: Callable[[Address], bool]) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """A socket factory for aiohttp's connector: no socket, hence NotPublic, for an address that is not `allowed`."""

    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, target = info
        if not allowed(ip_address(target[0])):
            raise NotPublic
        return socket.socket(family, kind, protocol)

    return make


def _translated(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None

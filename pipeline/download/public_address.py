"""Which addresses are public, whatever form they come in."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from t2i_shards.pipeline.download.limits import is_network

Address: TypeAlias = IPv4Address | IPv6Address

PROTOCOLS = IPv4Network("192.0.0.0/24")
"""Set aside for protocols (RFC 6890); Pythons differ in how much of it they call global."""
UNLISTED = (IPv4Network("168.63.129.16/32"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))
"""Not public, though Pythons call them global: Azure's host, from within its machines (credentials among what it
tells), the relays of 6to4 (RFC 7526), and addresses for documents (RFC 9637)."""
UNICAST = IPv6Network("2000::/3")
"""The only part of IPv6 that is handed out to the public internet (RFC 4291, IANA). Teredo's part
of it, 2001::/32, counts as private whatever it wraps."""
NAT64 = IPv6Network("64:ff9b::/96")
"""The last 32 bits are an IPv4 address (RFC 6052). 64:ff9b:1::/48 is for local use: it lies outside UNICAST."""


def is_public(address: Address) -> bool:
    """True when this address, and every address that is wrapped in it, may be reached by anyone."""
    return all(_is_global(one) for one in _unwrap(address))


def _unwrap(address: Address) -> Iterator[Address]:
    """The addresses that packets to `address` may end at."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address in NAT64:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    else:
        yield address
        if address.sixtofour is not None:
            yield address.sixtofour


def _is_global(address: Address) -> bool:
    # is_global alone says yes to multicast; older Pythons also to reserved parts of IPv6.
    if isinstance(address, IPv6Address) and address not in UNICAST:
        return False
    if isinstance(address, IPv4Address) and address in PROTOCOLS:
        return False
    if any(address in network for network in UNLISTED if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Allowed:
    """The exceptions that the user makes by name, address or network."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._networks = [ip_network(entry) for entry in entries if is_network(entry)]
        self._names = {entry.lower() for entry in entries if not is_network(entry)}

    def may_reach(self, host: str, address: str) -> bool:
        """True when a connection to `address` on behalf of `host` is in order."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if host in self._names or any(parsed in network for network in self._networks):
            return True
        return is_public(parsed)

"""Who sent a request that came through reverse proxies. Used by the API and by the gateway."""

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(trusted_proxies: Sequence[str]) -> tuple[Network, ...]:
    """Return the addresses and networks of the setting. Raises ValueError for one that is neither."""
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in trusted_proxies)


def is_among(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


def source_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the nearest address on the way that is no trusted proxy.

    `peer` is who holds the connection; `forwarded_for` the X-Forwarded-For headers in order. Only what a trusted proxy
    wrote is believed, so the header is read from its end, and not at all from a stranger.
    """
    address = peer
    for hop in reversed(",".join(forwarded_for).split(",")):
        if not is_among(address, trusted):
            return address
        try:
            address = str(ipaddress.ip_address(hop.strip()))
        except ValueError:
            return address
    return address

"""Address of a connection's peer, also behind trusted proxies.

Anybody can write `X-Forwarded-For`. Every proxy adds, on the right, the address that it saw itself:
so we read entries from the right, for as long as the proxies that wrote them are trusted.
"""

import asyncio
import ipaddress
from collections.abc import Sequence

from common.config.networks import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def peer_address(
    transport: asyncio.BaseTransport,
    forwarded_for: str | None = None,
    trusted: Sequence[Network] = (),
) -> str:
    """Return the address of the peer as text; empty if the connection has none.

    Everything that counts by address gets the address here.

    Args:
        transport: of the connection; its other end may be a proxy.
        forwarded_for: the request's `X-Forwarded-For`, several lines joined by commas in their
            order. It counts only if the other end is trusted.
        trusted: proxies; see `parse_networks`.

    Returns:
        The other end's address, or, if it is trusted, the right-most one in `forwarded_for` that is
        not. An entry that is not an address ends the search at the proxy that passed it on. If all
        are trusted, it is the left-most one.
    """
    peer = transport.get_extra_info("peername")
    if not isinstance(peer, tuple) or not peer:
        return ""
    found = _parse(str(peer[0]))
    if found is None:
        return str(peer[0])
    rest = forwarded_for or ""
    while rest and _is_in(found, trusted):
        rest, _, entry = rest.rpartition(",")
        before = _parse(_without_port(entry.strip()))
        if before is None:
            break
        found = before
    return str(found)


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # A dual-stack socket shows IPv4 peers in this form; they are the same address as without it.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _without_port(entry: str) -> str:
    # Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`.
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry

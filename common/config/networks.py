"""Networks and hosts as settings name them."""

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks with commas between them, such as `10.0.0.5,fd00::/8`.

    Raises:
        ValueError: one is neither; the text says which, and why.
    """
    parts = (part.strip() for part in text.split(","))
    return tuple(ipaddress.ip_network(part) for part in parts if part)


def is_loopback(host: str) -> bool:
    """Return True if the name of a host says that only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Whose address a connection comes from."""

import asyncio


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Address of the other end, as text; empty of a connection that has none.

    Whatever counts something by address reads the address here.
    """
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""

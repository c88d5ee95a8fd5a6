"""How much of what a client has not read may lie in the kernel."""

import asyncio
import socket
from typing import Final

_UNSENT_BYTES: Final = 65_536
"""Unsent bytes from which on a connection is looked at before every write."""
CATCH_UP_SEND_BUFFER_BYTES: Final = 131_072
"""`SO_SNDBUF` of a client that has much to catch up with.

With less than two segments in flight, each waits for the delayed acknowledgement of the one before.
Between processes of one machine (a reverse proxy) a segment has 64 KiB, and the wait 40 ms."""


def bound_send_buffer(transport: asyncio.Transport, size: int) -> None:
    """Bound what the kernel keeps for a client that doesn't read.

    Without it an unread socket takes megabytes before the gateway's own bound is seen.
    """
    set_send_buffer(transport, size)
    # As without TLS, which would let eight times as much wait before it says so.
    transport.set_write_buffer_limits(_UNSENT_BYTES)


def set_send_buffer(transport: asyncio.Transport, size: int) -> None:
    """Set `SO_SNDBUF`, of which the kernel makes twice as much."""
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

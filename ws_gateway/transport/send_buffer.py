"""Kernel send buffer of a connection: its size and its plain socket."""

import asyncio
import socket
from typing import Final

UNSENT_BYTES: Final = 65_536
"""Unsent bytes from which on a connection counts as choked whose socket isn't written to directly.

The same with TLS as without, which would let eight times as much wait before it says so."""
CATCH_UP_SEND_BUFFER_BYTES: Final = 131_072
"""`SO_SNDBUF` of a connection that has much to catch up with.

With less than two segments in flight, each waits for the delayed acknowledgement of the one before.
Between processes of one machine (a reverse proxy) a segment has 64 KiB, and the wait 40 ms."""


def set_send_buffer(transport: asyncio.Transport, size: int) -> None:
    """Set `SO_SNDBUF`, of which the kernel makes twice as much.

    Left alone, an unread socket takes megabytes before the gateway's own bound is seen.
    """
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def plain_socket(transport: asyncio.Transport) -> int | None:
    """File descriptor whose bytes are the transport's; None with TLS."""
    if transport.get_extra_info("ssl_object") is not None:
        return None
    sock: socket.socket = transport.get_extra_info("socket")
    return sock.fileno()

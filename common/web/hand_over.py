"""The one way to give a connection, with what it has sent, from one protocol to the next."""

import asyncio


def hand_over(
    transport: asyncio.Transport, protocol: asyncio.Protocol, unread: bytes, *, ended: bool
) -> None:
    """Make a protocol serve a connection from now on.

    The caller forgets the connection first: it may be closed before this returns.

    Args:
        transport: of the connection; it is read again, if it was paused.
        protocol: takes over.
        unread: bytes that were received and not used.
        ended: whether the peer sends no more; the protocol is told after the bytes.
    """
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if not transport.is_reading():
        transport.resume_reading()
    if unread:
        protocol.data_received(unread)
    if ended and not protocol.eof_received():
        transport.close()

"""A user's connection, whatever its framing.

A slotted protocol without a task of its own: the fan-out writes to it, one sweep looks after its
time limits.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, cast

from common.auth.principal import Principal
from common.model.publication import Position
from ws_gateway import metrics
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import JoinedWrite
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.messages import MessageError, Register, error_text, registered_text
from ws_gateway.transport.host import Host
from ws_gateway.transport.send_buffer import (
    CATCH_UP_SEND_BUFFER_BYTES,
    UNSENT_BYTES,
    plain_socket,
    set_send_buffer,
)

CLOSE_TIMEOUT_S: Final = 5.0
"""Time to answer the close frame."""


class Connection(asyncio.Protocol, ABC):
    """One socket; its subclasses say what its bytes look like.

    While `clear` is true nothing waits in the transport, and the fan-out may write to `fd`, past
    it. `seen` is the time of the gateway's clock at which it was last heard of. `behind` holds the
    channels whose fan-out passes it by, with the position that it has reached there; `choked` is
    true while the transport has much (of a plain socket: anything) that the other end did not read.
    """

    __slots__ = (
        "_transport",
        "address",
        "behind",
        "busy",
        "choked",
        "clear",
        "closing_since",
        "fd",
        "host",
        "number",
        "pinged",
        "principal",
        "rooms",
        "seat",
        "seen",
        "since",
        "user",
    )

    DIRECT: ClassVar[bool]
    """True if the fan-out's bytes can be written to a plain socket unchanged."""

    def __init__(self, host: "Host[Connection]", number: int, address: str) -> None:
        self.host = host
        self.number = number
        self.address = address
        """Address of the other end; empty if it doesn't matter."""
        self._transport: asyncio.Transport | None = None
        self.fd = -1
        """The socket; -1: all must go through the transport."""
        self.user: str | None = None
        self.principal: Principal | None = None
        """On whose behalf it is here: known once it registered, or by what its handshake said."""
        self.seat = ""
        """Client application whose seat it holds, or empty."""
        self.rooms: tuple[str, ...] = ()
        self.behind: dict[HeardChannel, Position] | None = None
        self.choked = self.clear = False
        self.busy = False
        self.pinged = False
        self.closing_since: float | None = None
        self.since = self.seen = host.clock.now

    @abstractmethod
    def send(self, payload: bytes) -> None:
        """Send one text message."""

    @abstractmethod
    def ping(self) -> None:
        """Keep the connection from being closed for its silence."""

    @abstractmethod
    def _framed(self, channel: HeardChannel, joined: JoinedWrite) -> bytes:
        """Bytes of texts of a channel."""

    @abstractmethod
    def _part(self, transport: asyncio.Transport, code: CloseCode) -> None:
        """Say why it is closed."""

    def wait(self) -> None:
        """Stop reading until `resume`: an action waits for Redis."""
        self.busy = True
        self._pause()

    def resume(self) -> None:
        """Go on reading."""
        self.busy = False
        self._listen()

    def _pause(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.pause_reading()

    def _listen(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def confirm(
        self,
        message: Register,
        positions: Mapping[str, Position],
        recovered: Mapping[str, bool],
    ) -> None:
        """Answer its registration; see `registered_text`."""
        self.send(registered_text(message.user, message.rooms, self.id, positions, recovered))

    def refuse(self, error: MessageError) -> None:
        """Answer with an error frame."""
        metrics.errors_sent.labels(error.code).inc()
        self.send(error_text(error))

    @property
    def id(self) -> str:
        """Its name, in answers and receipts."""
        return f"{self.host.id}-{self.number}"

    def deliver(self, channel: HeardChannel, joined: JoinedWrite) -> bool:
        """Take its part of a pass of the fan-out, having looked whether it can.

        One that has not read enough is left behind, to be caught up when it has.

        Returns:
            Whether it was written to.
        """
        if not self.may_be_given(channel, joined.before):
            return False
        self.write_rest(self._framed(channel, joined))
        return True

    def write_rest(self, data: bytes | memoryview) -> None:
        """Write through the transport, which keeps what the socket does not take.

        It says so by `pause_writing`, and deals with a socket that is broken.
        """
        if self._transport:
            self._transport.write(data)

    def may_be_given(self, channel: HeardChannel, before: Position) -> bool:
        """Return whether it can take a pass; mark it as behind if it hasn't read enough.

        Args:
            channel: whose pass it is.
            before: where the channel stood before it.
        """
        transport = self._transport
        if transport is None or self.closing_since is not None or transport.is_closing():
            return False
        if self.behind and channel in self.behind:
            return False
        if transport.get_write_buffer_size() > self.host.limits.socket_unsent_max_bytes:
            metrics.left_behind.inc()
            self.fall_behind(channel, before)
            return False
        return True

    def write_joined(self, channel: HeardChannel, joined: JoinedWrite) -> None:
        """Write what it missed of a channel, out of the fan-out's way."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(self._framed(channel, joined))

    def fall_behind(self, channel: HeardChannel, position: Position) -> None:
        """Hear nothing of a channel but what comes from its log, from a position on."""
        if self.behind is None:
            self.behind = {}
        self.behind[channel] = position
        self.clear = False

    def catch_up_with(self, channel: HeardChannel) -> None:
        """Hear a channel live again; everything that its fan-out has begun to send was written."""
        assert self.behind is not None
        del self.behind[channel]
        channel.pass_by(self)
        self._clear_again()

    def write_if_bounded(self, data: bytes) -> None:
        """Write what is for it alone; one that asks and does not read the answers is cut off."""
        transport = self._transport
        if transport is None or self.closing_since is not None or transport.is_closing():
            return
        # What the fan-out may have written comes first; answers get as much again.
        if transport.get_write_buffer_size() > 2 * self.host.limits.socket_unsent_max_bytes:
            metrics.slow_connections.inc()
            self.close(CloseCode.SLOW_CONNECTION)
            return
        transport.write(data)

    def close(self, code: CloseCode) -> None:
        """Close with a code, once; the peer has `CLOSE_TIMEOUT_S` to answer."""
        if self.closing_since is not None or self._transport is None:
            return
        self.clear = False
        self.closing_since = self.host.clock.now
        metrics.closes.labels(str(int(code))).inc()
        self.host.forget(self)
        if not self._transport.is_closing():
            self._part(self._transport, code)

    def abort(self) -> None:
        """Drop the connection without ado."""
        if self._transport:
            self._transport.abort()

    def pause_writing(self) -> None:
        """Look at its unsent bytes before every write from now on."""
        self.choked = True
        self.clear = False

    def resume_writing(self) -> None:
        """It has read; what it was left behind by follows."""
        self.choked = False
        # A ping may have waited behind all that.
        self.seen = self.host.clock.now
        self._clear_again()
        if self.behind and self._transport:
            set_send_buffer(self._transport, CATCH_UP_SEND_BUFFER_BYTES)
            self.host.catch_up.begin(self)

    def _clear_again(self) -> None:
        if not self.behind:
            self.behind = None
            self.clear = self.fd >= 0 and not self.choked and self.closing_since is None

    def eof_received(self) -> bool:
        """Close when the peer has closed its side."""
        self.clear = False
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it everywhere."""
        self.clear = False
        self.host.forget(self)
        self.host.connections.discard(self)
        self.behind = None
        self._transport = None
        # The transport closes the socket only after this, so that until now it was nobody else's.
        self.fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over from the front."""
        self._transport = transport = cast(asyncio.Transport, transport)
        set_send_buffer(transport, self.host.limits.send_buffer_bytes)
        if self.DIRECT and (fd := plain_socket(transport)) is not None:
            self.fd = fd
            self.clear = True
            # Heard of at the first byte that has to wait: until it is gone, nothing may overtake.
            transport.set_write_buffer_limits(0)
        else:
            transport.set_write_buffer_limits(UNSENT_BYTES)

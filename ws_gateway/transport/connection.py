"""One client's socket after its handshake.

A slotted protocol without a task of its own: frames come in through `data_received`, the fan-out
writes to it, one sweep looks after its time limits. An action that has to wait for Redis stops the
reading of this socket, so nothing queues up behind it.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import ClassVar, Final, cast

from common.auth.principal import Principal
from common.model.problem_codes import ProblemCode
from common.model.publication import Position
from ws_gateway import metrics
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import JoinedWrite
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.frames import (
    PING,
    Binary,
    Close,
    FrameError,
    FrameReader,
    MessagePart,
    Ping,
    Received,
    Text,
    close_frame,
    pong_frame,
    text_frame,
)
from ws_gateway.protocol.messages import ClientError, Register, error_text, registered_text
from ws_gateway.transport.host import Host
from ws_gateway.transport.send_buffer import (
    CATCH_UP_SEND_BUFFER_BYTES,
    UNSENT_BYTES,
    plain_socket,
    set_send_buffer,
)

CLOSE_TIMEOUT_S: Final = 5.0
"""Time a client has to answer the close frame."""
SLICE_FRAMES: Final = 64
"""Frames of one connection that are read in a slice of a loop turn."""
SLICE_S: Final = 0.001
"""Time past which a slice is over; the frame that goes past it is the last."""
FRAGMENTS_PER_MESSAGE: Final = 32
"""So many fragments count as one message against a client's limit."""
DROPPED_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes that are received and dropped after the close, past which the connection is aborted."""
CLOSED_FRAMES: Final = 256
"""Frames that are read after the close, to find the peer's answer to it."""


class Connection(asyncio.Protocol):
    """One socket.

    While `clear` is true nothing waits in the transport, and the fan-out may write to `fd`, past
    it. `seen` is the time of the gateway's clock at which it was last heard of. `behind` holds the
    channels whose fan-out passes it by, with the position that it has reached there; `choked` is
    true while the transport has much (of a plain socket: anything) that the client did not read.
    """

    __slots__ = (
        "_broken",
        "_frames",
        "_reader",
        "_transport",
        "_window",
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

    DIRECT: ClassVar = True
    """True if the fan-out's bytes can be written to a plain socket unchanged."""

    def __init__(self, host: "Host[Connection]", number: int, address: str) -> None:
        self.host = host
        self.number = number
        self.address = address
        """Address of the client; empty if it doesn't matter."""
        self._transport: asyncio.Transport | None = None
        self.fd = -1
        """The socket; -1: all must go through the transport."""
        self._reader: FrameReader | None = None
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
        self.since = self.seen = self._window = host.clock.now
        self._frames = 0
        """Messages that count against its limit; once it is closed, frames, then bytes since."""
        self._broken = False

    def data_received(self, data: bytes) -> None:
        """Read frames, a slice of a loop turn at most; the peer waits for the rest."""
        if self._broken:
            self._frames += len(data)
            if self._frames > DROPPED_MAX_BYTES:
                self.abort()
            return
        self.seen = self.host.clock.now
        self.pinged = False
        reader = self._reader or FrameReader(self.host.limits.client_frame_max_bytes)
        reader.receive(data)
        self._reader = reader
        if not reader.is_queued and not self._must_wait:
            self._read(reader)

    @property
    def _must_wait(self) -> bool:
        """True while an action is under way. The answer to a close frame is read all the same."""
        return self.busy and self.closing_since is None

    def _read(self, reader: FrameReader) -> None:
        ends = time.monotonic() + SLICE_S
        try:
            for _ in range(SLICE_FRAMES):
                item = reader.read()
                if item is None:
                    if reader.at_rest:
                        self._reader = None
                    return
                if not self._take(item, reader):
                    return
                if time.monotonic() >= ends:
                    break
        except FrameError as error:
            self.close(error.code)
            self._drop_the_rest()
            return
        self._read_later(reader)

    def _read_later(self, reader: FrameReader) -> None:
        """Queue for the next slice."""
        if not reader.is_queued:
            reader.is_queued = True
            self._pause()
            self.host.slices.later(self._read_on)

    def _read_on(self) -> None:
        reader = self._reader
        if reader is None:
            return
        reader.is_queued = False
        if self._transport is None or self._broken or self._must_wait:
            return
        self._read(reader)
        if not reader.is_queued and not self._must_wait:
            self._listen()

    def _take(self, item: Received, reader: FrameReader) -> bool:
        """Do what a frame says; return whether the next one may be read in the same slice."""
        if isinstance(item, Close):
            self._answer_close(item.code)
            self._broken = True
            self._reader = None
            return False
        if self.closing_since is not None:
            self._frames += 1
            if self._frames > CLOSED_FRAMES:
                self._drop_the_rest()
                return False
        elif isinstance(item, MessagePart):
            if not reader.fragments % FRAGMENTS_PER_MESSAGE:
                self._count()
        elif self._count():
            if isinstance(item, Text):
                self.host.handle(self, item.text)
            elif isinstance(item, Ping):
                self.write_if_bounded(pong_frame(item.payload))
            elif isinstance(item, Binary):
                self.refuse(ClientError(ProblemCode.UNSUPPORTED, "messages are text"))
        return not reader.is_queued and not self._must_wait

    def _drop_the_rest(self) -> None:
        """Drop what comes from here on, until the peer hangs up.

        Nothing behind a broken frame can be understood, and a peer that goes on sending after the
        close does not wait for it. All is received nevertheless: the close frame could otherwise be
        lost in a reset.
        """
        self._broken = True
        self._frames = 0
        self._reader = None
        transport = self._transport
        if transport and not transport.is_closing():
            self._listen()
            if transport.can_write_eof():
                transport.write_eof()
            else:
                # TLS has no half-closed state; it reads on until the peer agrees.
                transport.close()

    def wait(self) -> None:
        """Stop reading until `resume`: an action waits for Redis."""
        self.busy = True
        self._pause()

    def resume(self) -> None:
        """Continue with input that was received in the meantime."""
        self.busy = False
        if self._reader is None:
            self._listen()
        else:
            self._read_later(self._reader)

    def _pause(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.pause_reading()

    def _listen(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def _count(self) -> bool:
        """Count a message or control frame, and close if they are too many.

        Returns:
            Whether it may be taken.
        """
        if self._too_many():
            self.close(CloseCode.TOO_MANY_FRAMES)
        return self.closing_since is None

    def _too_many(self) -> bool:
        limits, now = self.host.limits, self.host.clock.now
        if self._window is not now:
            allowed = int((now - self._window) * limits.client_frames_per_s)
            self._frames = max(0, self._frames - allowed)
            self._window = now
        self._frames += 1
        return self._frames > limits.client_frames_burst

    def send(self, payload: bytes) -> None:
        """Send one text message."""
        self.write_if_bounded(text_frame(payload))

    def confirm(
        self,
        message: Register,
        positions: Mapping[str, Position],
        recovered: Mapping[str, bool],
    ) -> None:
        """Answer its registration; see `registered_text`."""
        self.send(registered_text(message.user, message.rooms, self.id, positions, recovered))

    def refuse(self, error: ClientError) -> None:
        """Answer with an error frame."""
        metrics.client_errors.labels(error.code).inc()
        self.send(error_text(error))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.pinged = True
        self.write_if_bounded(PING)

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
        self.write_rest(joined.frames)
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
        if transport.get_write_buffer_size() > self.host.limits.slow_client_max_bytes:
            metrics.left_behind.inc()
            self.fall_behind(channel, before)
            return False
        return True

    def write_joined(self, channel: HeardChannel, joined: JoinedWrite) -> None:
        """Write what it missed of a channel, out of the fan-out's way."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(joined.frames)

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
        if transport.get_write_buffer_size() > 2 * self.host.limits.slow_client_max_bytes:
            metrics.slow_clients.inc()
            self.close(CloseCode.SLOW_CLIENT)
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

    def _part(self, transport: asyncio.Transport, code: CloseCode) -> None:
        transport.write(close_frame(code))
        # The close frame is answered even if an action was waiting.
        self._frames = 0
        if self._reader is None:
            transport.resume_reading()
        else:
            self._read_later(self._reader)

    def _answer_close(self, code: int) -> None:
        if self._transport is None:
            return
        if self.closing_since is None:
            self.clear = False
            self.closing_since = self.host.clock.now
            self.host.forget(self)
            self._transport.write(close_frame(code))
        self._transport.close()

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
        self._reader = None

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

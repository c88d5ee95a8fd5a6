"""A user's WebSocket after its handshake.

Frames come in through `data_received`, in slices. An action that has to wait for Redis stops the
reading of this socket, so nothing queues up behind it.
"""

import asyncio
import time
from typing import ClassVar, Final

from common.model.problem_codes import ProblemCode
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
from ws_gateway.protocol.messages import MessageError
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.host import Host

SLICE_FRAMES: Final = 64
"""Frames of one connection that are read in a slice of a loop turn."""
SLICE_S: Final = 0.001
"""Time past which a slice is over; the frame that goes past it is the last."""
FRAGMENTS_PER_MESSAGE: Final = 32
"""So many fragments count as one message against a connection's limit."""
DROPPED_MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes that are received and dropped after the close, past which the connection is aborted."""
CLOSED_FRAMES: Final = 256
"""Frames that are read after the close, to find the peer's answer to it."""


class WebSocket(Connection):
    """A connection that speaks, too."""

    __slots__ = ("_broken", "_frames", "_reader", "_window")

    DIRECT: ClassVar = True

    def __init__(self, host: Host[Connection], number: int, address: str) -> None:
        super().__init__(host, number, address)
        self._reader: FrameReader | None = None
        self._window = self.since
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
        reader = self._reader or FrameReader(self.host.limits.socket_frame_max_bytes)
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
                self.refuse(MessageError(ProblemCode.UNSUPPORTED, "messages are text"))
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

    def resume(self) -> None:
        """Continue with input that was received in the meantime."""
        self.busy = False
        if self._reader is None:
            self._listen()
        else:
            self._read_later(self._reader)

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
            allowed = int((now - self._window) * limits.socket_frames_per_s)
            self._frames = max(0, self._frames - allowed)
            self._window = now
        self._frames += 1
        return self._frames > limits.socket_frames_burst

    def send(self, payload: bytes) -> None:
        """Send one text message."""
        self.write_if_bounded(text_frame(payload))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.pinged = True
        self.write_if_bounded(PING)

    def _framed(self, channel: HeardChannel, joined: JoinedWrite) -> bytes:
        return joined.frames

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

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it everywhere, and what was received of its next frame."""
        super().connection_lost(exc)
        self._reader = None

"""WebSocket frames (RFC 6455): built here for sending, read with wsproto's sans-I/O decoders."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wsproto.frame_protocol import Frame, FrameDecoder, MessageDecoder, Opcode, ParseFailed

from common.errors import RoomcastError
from ws_gateway.protocol.close_codes import REASONS, CloseCode

PING: Final = b"\x89\x00"
_MEDIUM_HEAD: Final = struct.Struct("!BBH").pack
_CLOSE_CODES_MAX: Final = 4999
_LOCAL_ONLY: Final = frozenset({1004, 1005, 1006, 1015})


def text_frame(payload: bytes) -> bytes:
    """Whole unmasked text frame of UTF-8 text."""
    return _text_head(len(payload)) + payload


def text_frames(payloads: Sequence[bytes]) -> bytes:
    """Text frames one after another."""
    return b"".join([part for payload in payloads for part in (_text_head(len(payload)), payload)])


def _text_head(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    if size < 65536:
        return _MEDIUM_HEAD(0x81, 0x7E, size)
    return b"\x81\x7f" + size.to_bytes(8, "big")


def pong_frame(payload: bytes) -> bytes:
    """Pong with the payload (at most 125 bytes) of the ping it answers."""
    return bytes((0x8A, len(payload))) + payload


def close_frame(code: int) -> bytes:
    """Close frame with a code and its text."""
    reason = REASONS.get(code, "").encode()
    return bytes((0x88, 2 + len(reason))) + struct.pack("!H", code) + reason


@dataclass(frozen=True, slots=True)
class Text:
    """A whole text message."""

    text: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A whole binary message; its content is not kept."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping and its payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A pong."""


@dataclass(frozen=True, slots=True)
class Close:
    """A close frame and the code to answer it with."""

    code: int


@dataclass(frozen=True, slots=True)
class MessagePart:
    """A fragment of a message, and not its last one."""


Received = Text | Binary | Ping | Pong | Close | MessagePart

PIECE_BYTES: Final = 4 * 1024
"""Bytes that are decoded at a time: the decoder copies all that it has for each frame."""


class FrameError(RoomcastError):
    """The peer broke the protocol or a bound; `code` is what it is closed with."""

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class FrameReader:
    """Turns received bytes into messages; kept only while something is partly received.

    Args:
        max_bytes: of one message, over all its fragments.
    """

    __slots__ = (
        "_at",
        "_decoder",
        "_empty",
        "_max_bytes",
        "_messages",
        "_parts",
        "_size",
        "_unread",
        "fragments",
        "is_queued",
    )

    def __init__(self, max_bytes: int) -> None:
        self._decoder = FrameDecoder(client=False)
        self._messages = MessageDecoder()
        self._parts: list[str] = []
        self._size = self._empty = 0
        self._max_bytes = max_bytes
        self._unread = b""
        self._at = 0
        self.fragments = 0
        """Frames so far that did not complete their message."""
        self.is_queued = False
        """True if the next slice is scheduled, for a caller that reads in slices."""

    @property
    def at_rest(self) -> bool:
        """True if nothing is partly received, so that a new reader could take over."""
        return (
            self._at == len(self._unread)
            and not len(self._decoder.buffer)
            and self._decoder.header is None
            and self._messages.opcode is None
        )

    def receive(self, data: bytes) -> None:
        """Take bytes, to be read with `read`."""
        self._unread, self._at = self._unread[self._at :] + data, 0

    def read(self) -> Received | None:
        """Return the next message, control frame or fragment; None if it has not come whole.

        After a `Close` there is nothing to read.

        Raises:
            FrameError: not a frame, not UTF-8, or too large.
        """
        try:
            while True:
                frame = self._decoder.process_buffer()
                header = self._decoder.header
                if header is not None and header.payload_len > self._max_bytes:
                    raise FrameError(CloseCode.TOO_LARGE, "frame too large")
                if frame is not None:
                    if (item := self._take(frame)) is not None:
                        return item
                    continue
                piece = self._unread[self._at : self._at + PIECE_BYTES]
                if not piece:
                    return None
                self._at += len(piece)
                self._decoder.receive_bytes(piece)
        except ParseFailed as error:
            not_text = int(error.code) == CloseCode.NOT_TEXT
            code = CloseCode.NOT_TEXT if not_text else CloseCode.PROTOCOL_ERROR
            raise FrameError(code, str(error)) from None

    def _take(self, frame: Frame) -> Received | None:
        if frame.opcode is Opcode.CLOSE:
            return Close(_code_to_answer(bytes(frame.payload)))  # type: ignore[arg-type]
        if frame.opcode is Opcode.PING:
            return Ping(bytes(frame.payload))  # type: ignore[arg-type]
        if frame.opcode is Opcode.PONG:
            return Pong()
        self._size += len(frame.payload)
        self._empty += not frame.payload
        # Without end, empty fragments would take memory and time too.
        if self._size > self._max_bytes or self._empty > self._max_bytes:
            raise FrameError(CloseCode.TOO_LARGE, "message too large")
        frame = self._messages.process_frame(frame)
        text = isinstance(frame.payload, str)
        if isinstance(frame.payload, str):
            self._parts.append(frame.payload)
        if not frame.frame_finished:
            return None
        if not frame.message_finished:
            self.fragments += 1
            return MessagePart()
        whole = "".join(self._parts)
        self._parts = []
        self._size = self._empty = 0
        return Text(whole) if text else Binary()


def _code_to_answer(payload: bytes) -> int:
    if not payload:
        return CloseCode.NORMAL
    if len(payload) == 1:
        return CloseCode.PROTOCOL_ERROR
    code = int.from_bytes(payload[:2], "big")
    if not 1000 <= code <= _CLOSE_CODES_MAX or code in _LOCAL_ONLY or 1016 <= code < 3000:
        return CloseCode.PROTOCOL_ERROR
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return CloseCode.NOT_TEXT
    return code

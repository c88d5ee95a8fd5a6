"""WebSocket frames (RFC 6455): built here for sending, read with wsproto's sans-I/O decoders."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wsproto.frame_protocol import FrameDecoder, MessageDecoder, Opcode, ParseFailed

from ws_gateway.close_codes import REASONS, CloseCode

PING: Final = b"\x89\x00"
_CLOSE_CODES_MAX: Final = 4999
_LOCAL_ONLY: Final = frozenset({1004, 1005, 1006, 1015})


def text_frame(payload: bytes) -> bytes:
    """Whole unmasked text frame of UTF-8 text."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payloads(frames: bytes) -> Iterator[bytes]:
    """Texts of a run of frames that `text_frame` made."""
    at = 0
    while at < len(frames):
        size, at = frames[at + 1], at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(frames[at : at + width], "big"), at + width
        yield frames[at : at + size]
        at += size


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


Received = Text | Binary | Ping | Pong | Close


class FrameError(Exception):
    """The peer broke the protocol or a bound; `code` is what it is closed with."""

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class FrameReader:
    """Turns received bytes into messages; kept only while something is partly received.

    Args:
        max_bytes: of one message, over all its fragments.
    """

    __slots__ = ("_decoder", "_empty", "_max_bytes", "_messages", "_parts", "_size")

    def __init__(self, max_bytes: int) -> None:
        self._decoder = FrameDecoder(client=False)
        self._messages = MessageDecoder()
        self._parts: list[str] = []
        self._size = self._empty = 0
        self._max_bytes = max_bytes

    @property
    def at_rest(self) -> bool:
        """Whether nothing is partly received, so that a new reader would do as well."""
        return (
            not len(self._decoder.buffer)
            and self._decoder.header is None
            and self._messages.opcode is None
        )

    def feed(self, data: bytes) -> Iterator[Received]:
        """Messages that are complete with `data`, in order.

        Raises:
            FrameError: not a frame, not UTF-8, or too large.
        """
        self._decoder.receive_bytes(data)
        try:
            while True:
                frame = self._decoder.process_buffer()
                header = self._decoder.header
                if header is not None and header.payload_len > self._max_bytes:
                    raise FrameError(CloseCode.TOO_LARGE, "frame too large")
                if frame is None:
                    return
                if frame.opcode is Opcode.CLOSE:
                    yield Close(_code_to_answer(bytes(frame.payload)))  # type: ignore[arg-type]
                    return
                if frame.opcode is Opcode.PING:
                    yield Ping(bytes(frame.payload))  # type: ignore[arg-type]
                elif frame.opcode is Opcode.PONG:
                    yield Pong()
                else:
                    self._size += len(frame.payload)
                    self._empty += not frame.payload
                    # Without end, empty fragments would take memory and time too.
                    if self._size > self._max_bytes or self._empty > self._max_bytes:
                        raise FrameError(CloseCode.TOO_LARGE, "message too large")
                    frame = self._messages.process_frame(frame)
                    text = isinstance(frame.payload, str)
                    if isinstance(frame.payload, str):
                        self._parts.append(frame.payload)
                    if frame.frame_finished and frame.message_finished:
                        whole = "".join(self._parts)
                        self._parts = []
                        self._size = self._empty = 0
                        yield Text(whole) if text else Binary()
        except ParseFailed as error:
            not_text = int(error.code) == CloseCode.NOT_TEXT
            code = CloseCode.NOT_TEXT if not_text else CloseCode.PROTOCOL_ERROR
            raise FrameError(code, str(error)) from None


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

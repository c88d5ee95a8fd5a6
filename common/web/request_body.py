"""Bodies of HTTP/1.1 requests, read from a connection's bytes piece by piece. Pure."""

import re
from typing import Final

from common.errors import RoomcastError

CHUNKS_AT_ONCE: Final = 128
"""Most chunks that are read at once."""
_LINE_MAX_BYTES: Final = 256
_TRAILER_MAX_BYTES: Final = 8 * 1024
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class BodyError(RoomcastError, ValueError):
    """A body that does not match its head; the text says why."""


class SizedBody:
    """A body with a `Content-Length`.

    Args:
        length: its bytes.
    """

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_complete(self) -> bool:
        """True if all of the body was taken."""
        return not self._left

    def take(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Take the body's part of the data.

        Args:
            data: the received bytes.
            at: offset in it to continue from.

        Returns:
            The piece, and where the rest begins.
        """
        piece = data[at : at + self._left]
        self._left -= len(piece)
        return piece, at + len(piece)


class ChunkedBody:
    """A body in chunks (RFC 9112, section 7.1); extensions and trailers are dropped."""

    __slots__ = ("_ends_line", "_in_trailer", "_left", "_trailer", "is_complete")

    def __init__(self) -> None:
        self._left = 0
        self._ends_line = False
        """True if the line end after a chunk comes next."""
        self._in_trailer = False
        self._trailer = 0
        self.is_complete = False
        """True if all of the body was taken."""

    def take(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Take the body's part of the data, at most `CHUNKS_AT_ONCE` chunks.

        Args:
            data: the received bytes.
            at: offset in it to continue from.

        Returns:
            The piece, and where the rest begins.

        Raises:
            BodyError: the chunks are malformed.
        """
        pieces = []
        for _ in range(CHUNKS_AT_ONCE):
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._ends_line = True
            if self._ends_line:
                if data[at : at + 2] != b"\r\n":
                    if len(data) - at >= 2 or data[at : at + 1] not in (b"", b"\r"):
                        raise BodyError("a chunk ends with CR and LF")
                    break
                at += 2
                self._ends_line = False
            line = self._line(data, at)
            if line is None:
                break
            at += len(line) + 2
            if self._in_trailer:
                self._read_trailer(line)
                if self.is_complete:
                    break
            else:
                self._read_size(line)
        return b"".join(pieces), at

    @staticmethod
    def _line(data: bytes, at: int) -> bytes | None:
        ends = data.find(b"\r\n", at, at + _LINE_MAX_BYTES)
        if ends >= 0:
            return data[at:ends]
        if len(data) - at >= _LINE_MAX_BYTES:
            raise BodyError("a line between chunks is too long")
        return None

    def _read_size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise BodyError("a chunk begins with its size")
        self._left = int(found[1], 16)
        self._in_trailer = not self._left

    def _read_trailer(self, line: bytes) -> None:
        self._trailer += len(line)
        if b"\n" in line or b"\0" in line or self._trailer > _TRAILER_MAX_BYTES:
            raise BodyError("a trailer that is malformed or too long")
        self.is_complete = not line

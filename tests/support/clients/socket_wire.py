"""A socket that says exactly what it is told to: for rubbish that no library would send."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def client_frame(
    payload: bytes, opcode: int = 1, *, fin: bool = True, masked: bool = True
) -> bytes:
    """A frame as a client sends it; the masking key is zero, which leaves the payload readable."""
    first = (0x80 if fin else 0) | opcode
    mask = 0x80 if masked else 0
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, mask | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, mask | 126, size)
    else:
        head = struct.pack("!BBQ", first, mask | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


class Wire:
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write, and wait until it is out."""
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self, timeout_s: float = 20.0) -> bytes:
        """Everything until the other side hangs up."""
        data = b""
        async with asyncio.timeout(timeout_s):
            try:
                while chunk := await self.reader.read(65536):
                    data += chunk
            except ConnectionError:
                pass
        return data

    async def head(self, timeout_s: float = 20.0) -> bytes:
        """A response's head."""
        async with asyncio.timeout(timeout_s):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def frame(self, timeout_s: float = 20.0) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        async with asyncio.timeout(timeout_s):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """Skip to the close frame and return its code."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """Connect to the host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def open_socket(url: str, first: bytes = b"") -> AsyncIterator[Wire]:
    """Connect, shake hands, and send `first` right behind the handshake."""
    async with wire(url) as connection:
        await connection.send(HANDSHAKE + first)
        assert (await connection.head()).startswith(b"HTTP/1.1 101 ")
        yield connection

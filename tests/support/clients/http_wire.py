"""HTTP/1.1 by hand: bytes out, answers in, so that a test says what is in which packet."""

import asyncio
import json
import ssl
from dataclasses import dataclass
from typing import Any, Self

from tests.support.processes.process import LOOPBACK

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection; a context manager."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            LOOPBACK, self._port, ssl=self._tls
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def send(self, *packets: bytes) -> None:
        for number, packet in enumerate(packets):
            if number:
                await asyncio.sleep(0.02)
            self.writer.write(packet)
            await self.writer.drain()

    async def reply(self) -> Reply:
        """The next answer that is not 1xx."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *fields = head.rstrip("\r\n").split("\r\n")
                headers = {}
                for field in fields:
                    name, _, value = field.partition(":")
                    headers[name.strip().lower()] = value.strip()
                status = int(line.split()[1])
                if status >= 200:
                    break
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
            else:
                body = await self.reader.read()
            return Reply(status, headers, body)

    async def closed(self) -> bool:
        """Wait for the peer to hang up; whether it said nothing more."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


def request(
    body: bytes = b"",
    *fields: str,
    method: str = "POST",
    path: str = "/notify",
    content_type: str | None = "application/json",
    length: bool = True,
    version: str = "HTTP/1.1",
) -> bytes:
    lines = [f"{method} {path} {version}", "Host: test"]
    if content_type is not None:
        lines.append(f"Content-Type: {content_type}")
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *fields, "", ""]).encode("utf-8") + body


def chunked(body: bytes, *fields: str, step: int = 1000) -> bytes:
    pieces = [body[n : n + step] for n in range(0, len(body), step)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return request(b"", "Transfer-Encoding: chunked", *fields, length=False) + coded

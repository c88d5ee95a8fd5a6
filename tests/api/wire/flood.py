"""One stranger that sends without end: `python -m tests.api.wire.flood PORT KIND SECONDS
[CA_FILE]`.

A process of its own, so that what it costs to send is not felt by whoever measures. It connects
again when it is hung up on, and prints how many bytes it got rid of.
"""

import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Final

HOST: Final = b"Host: x\r\n"
GOOD: Final = b'{"type":"room","userId":1,"target":"flood","message":"x"}'
MIB: Final = 1024 * 1024
BLOCKED: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def post(body: bytes, *fields: bytes) -> bytes:
    lines = [b"Host: x", b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([b"POST /notify HTTP/1.1", *lines, *fields, b"", body])


def get(path: bytes, method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, path, HOST)


def chunked(count: int) -> bytes:
    head = b"POST /notify HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n" % HOST
    return head + b"Content-Type: application/json\r\n\r\n" + b"1\r\n \r\n" * count + b"0\r\n\r\n"


KINDS: Final[dict[str, bytes]] = {
    "empty POSTs": post(b"") * 20_000,
    "good POSTs": post(GOOD) * 5_000,
    "no Host": b"POST /notify HTTP/1.1\r\nContent-Length:0\r\n\r\n" * 20_000,
    "a GET, then POSTs": get(b"/healthz") + post(b"") * 20_000,
    "GET /healthz": get(b"/healthz") * 20_000,
    "GET /readyz": get(b"/readyz") * 20_000,
    "GET /openapi.json": get(b"/openapi.json") * 20_000,
    "wrong tickets": get(b"/events?userId=1&ticket=rt_" + b"A" * 43) * 20_000,
    "POST /tickets": post(b"{}").replace(b"/notify", b"/tickets") * 20_000,
    "unknown paths": get(b"/x") * 20_000,
    "wrong methods": get(b"/notify", b"PUT") * 20_000,
    "HEAD": get(b"/healthz", b"HEAD") * 20_000,
    "other types": post(GOOD).replace(b"application/json", b"text/plain") * 5_000,
    "batches of tiny objects": post(b"[" + b",".join([b"{}"] * 300_000) + b"]"),
    "chunks of a byte": chunked(200_000),
    "many small chunked bodies": chunked(2) * 10_000,
    "big bodies": post(b" " * MIB),
    "too big bodies": post(b" " * (20 * MIB)),
    "an encoding": post(b" " * MIB, b"Content-Encoding: gzip"),
    "rubbish": b"rubbish\r\n\r\n" * 1_000,
    "many fields": b"GET /healthz HTTP/1.1\r\n%b%b\r\n" % (HOST, b"a:b\r\n" * 2_000),
    "empty lines": b"\r\n" * 100_000,
    "upgrades": post(b"", b"Connection: Upgrade", b"Upgrade: h2c") * 10_000,
}
SLOW: Final = "heads byte by byte"


def payloads(kind: str) -> Iterator[bytes]:
    if kind == SLOW:
        whole = b"GET /healthz HTTP/1.1\r\n%bX: %b\r\n\r\n" % (HOST, b"a" * 4_000)
        while True:
            yield from (whole[at : at + 1] for at in range(len(whole)))
    while True:
        yield KINDS[kind]


def connect(port: int, ca_file: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ca_file:
        context = ssl.create_default_context(cafile=ca_file)
        connection = context.wrap_socket(connection, server_hostname="127.0.0.1")
    connection.setblocking(False)
    return connection


def read(connection: socket.socket) -> None:
    """Drop what has come.

    Raises:
        ConnectionError: the peer has hung up.
    """
    try:
        while connection.recv(MIB):
            pass
    except BLOCKED:
        return
    raise ConnectionResetError("the peer has hung up")


def send(connection: socket.socket, data: memoryview) -> int:
    """Send what the connection takes at once; wait a little if that is nothing."""
    try:
        return connection.send(data)
    except BLOCKED:
        select.select([connection], [connection], [], 0.05)
        return 0


def flood(port: int, kind: str, ends: float, ca_file: str = "") -> int:
    sent = 0
    while time.monotonic() < ends:
        # One thread reads and writes: an SSL object is not made for two.
        with connect(port, ca_file) as connection:
            try:
                for payload in payloads(kind):
                    rest = memoryview(payload)
                    while rest and time.monotonic() < ends:
                        count = send(connection, rest[:MIB])
                        sent, rest = sent + count, rest[count:]
                        read(connection)
                    if time.monotonic() >= ends:
                        break
            except OSError:
                continue
    return sent


if __name__ == "__main__":
    # It stands for another machine: it gets what those whose time is measured leave.
    os.nice(19)
    port, kind, seconds, *files = sys.argv[1:]
    sent = flood(int(port), kind, time.monotonic() + float(seconds), *files)
    sys.stdout.write(str(sent))

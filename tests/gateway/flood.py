"""One socket that sends without end: `python -m tests.gateway.flood PORT KIND SECONDS`.

As `tests.api.wire.flood`, but behind a handshake. It connects again when it is hung up on, and
prints how many bytes it got rid of.
"""

import json
import os
import socket
import sys
import threading
import time
from typing import Final

from tests.support.clients.socket_wire import HANDSHAKE, client_frame

MIB: Final = 1024 * 1024
STREAM: Final = b"GET /events?userId=flood HTTP/1.1\r\nHost: test\r\n\r\n"
CLOSE: Final = client_frame(b"\x03\xe8", 8)
REGISTER: Final = client_frame(b'{"userId":"flood","room":[1,2,3]}')


def action(**fields: object) -> bytes:
    return client_frame(json.dumps(fields).encode())


RECEIPT_IDS: Final = [f"{n:04x}" for n in range(1_000)]
KINDS: Final[dict[str, tuple[bytes, bytes]]] = {
    "pings": (HANDSHAKE, client_frame(b"", 9)),
    "pings with a payload": (HANDSHAKE, client_frame(b"x" * 125, 9)),
    "pongs": (HANDSHAKE, client_frame(b"", 10)),
    "empty messages": (HANDSHAKE, client_frame(b"")),
    "no JSON": (HANDSHAKE, client_frame(b"x")),
    "binary": (HANDSHAKE, client_frame(b"x", 2)),
    "unknown actions": (HANDSHAKE + REGISTER, action(action="x")),
    "registrations": (HANDSHAKE, REGISTER),
    "refused registrations": (HANDSHAKE, action(userId="", room="")),
    "joins": (HANDSHAKE + REGISTER, action(action="join", room=[f"{n}" for n in range(90)])),
    "joins and leaves": (
        HANDSHAKE + REGISTER, action(action="join", room=9) + action(action="leave", room=9),
    ),
    "receipts": (HANDSHAKE + REGISTER, action(action="ack", id=RECEIPT_IDS)),
    "a wrong ticket": (HANDSHAKE.replace(b" / ", b" /?ticket=x "), client_frame(b"", 9)),
    "refreshes": (HANDSHAKE + REGISTER, action(action="refresh", token="x" * 1_000)),
    "action pings": (HANDSHAKE + REGISTER, action(action="ping")),
    "empty fragments": (
        HANDSHAKE + REGISTER + client_frame(b"", fin=False), client_frame(b"", 0, fin=False),
    ),
    "messages in fragments of a byte": (
        HANDSHAKE + REGISTER,
        client_frame(b" ", fin=False)
        + client_frame(b" ", 0, fin=False) * 5_000
        + client_frame(b"{}", 0),
    ),
    "a continuation of nothing": (HANDSHAKE, client_frame(b"x", 0)),
    "unmasked": (HANDSHAKE, client_frame(b"x", masked=False)),
    "after the close": (HANDSHAKE + CLOSE, client_frame(b"", 9)),
    "closes": (HANDSHAKE, CLOSE),
    "large messages": (HANDSHAKE + REGISTER, client_frame(b" " * 16_000)),
    "too large messages": (HANDSHAKE, client_frame(b" " * 60_000)),
    "behind an event stream's head": (STREAM, client_frame(b"", 9)),
}  # fmt: skip
SLOW: Final = "frames byte by byte"


def _read(connection: socket.socket) -> None:
    try:
        while connection.recv(MIB):
            pass
    except OSError:
        pass


def _send(connection: socket.socket, data: bytes, ends: float) -> int:
    at = 0
    while at < len(data) and time.monotonic() < ends:
        at += connection.send(data[at : at + MIB])
    return at


def flood(port: int, kind: str, ends: float) -> int:
    first, repeated = KINDS["no JSON" if kind == SLOW else kind]
    payload = repeated * max(1, MIB // len(repeated))
    sent = 0
    while time.monotonic() < ends:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(1)
            threading.Thread(target=_read, args=(connection,), daemon=True).start()
            try:
                sent += _send(connection, first, ends)
                while time.monotonic() < ends:
                    if kind == SLOW:
                        for byte in repeated:
                            sent += connection.send(bytes([byte]))
                    else:
                        sent += _send(connection, payload, ends)
            except OSError:
                continue
    return sent


if __name__ == "__main__":
    # It stands for another machine: it gets what those whose time is measured leave.
    os.nice(19)
    sys.stdout.write(
        str(flood(int(sys.argv[1]), sys.argv[2], time.monotonic() + float(sys.argv[3])))
    )

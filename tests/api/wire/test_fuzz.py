"""Whatever bytes come, nothing is logged as an error and the process goes on."""

import contextlib
import random
import socket
import struct
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.wire.flood import get
from tests.api.wire.test_same_heads import BODY, ask, fields, starts, whole
from tests.support.examples import examples
from tests.support.processes.process import LOOPBACK
from tests.support.processes.stack import Stack

PROCESSES = ["server-1", "gateway-1", "worker-1"]
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SEEDS = [
    whole(b"POST /notify HTTP/1.1", [b"Host: x", b"Content-Length: %d" % len(BODY)]),
    whole(b"POST /users HTTP/1.1", [b"Host: x", b"Transfer-Encoding: chunked"]),
    get(b"/users/1/notifications?limit=10&cursor=abc"),
    get(b"/rooms/%F0%9F%98%80/members"),
    get(b"/notifications?status=queued"),
    get(b"/events?userId=1&room=2").replace(b"Host: x", b"Host: x\r\nLast-Event-ID: abc"),
    HANDSHAKE.replace(b"\r\n\r\n", b"\r\nOrigin: https://b\xfccher.example\r\n\r\n"),
    HANDSHAKE + b"\x81\x85\x00\x00\x00\x00hello",
]


@contextlib.contextmanager
def nothing_logged(stack: Stack) -> Iterator[None]:
    """No ERROR and no traceback of any process, by the end."""
    before = {name: stack.processes[name].log.stat().st_size for name in PROCESSES}
    yield
    for name in PROCESSES:
        log = stack.processes[name].log.read_bytes()[before[name] :].decode()
        assert "Traceback" not in log, name
        assert '"ERROR"' not in log, name
        assert '"CRITICAL"' not in log, name
        assert ask(stack.ports[name], get(b"/healthz")).status == 200


def throw(port: int, pieces: list[bytes], how: str) -> None:
    """Send, and leave in one way or another."""
    connection = socket.create_connection((LOOPBACK, port), timeout=30)
    with connection, contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
        if how == "half":
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
        elif how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def mutated(data: bytes, chance: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(4):
            case 0:
                found[at:at] = chance.randbytes(chance.randint(1, 4))
            case 1:
                del found[at : at + chance.randint(1, 8)]
            case 2:
                found[at : at + 1] = chance.choice(
                    [b"\r\n", b"\0", b"\xff", b" ", b"%", b"{", b"\r\n\r\n", b"\n"]
                )
            case _:
                found[at:at] = found[max(0, at - 20) : at]
    return bytes(found)


cuts = st.lists(st.integers(1, 60), max_size=3)
ways = st.sampled_from(["close", "half", "reset"])


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@pytest.mark.parametrize("process", PROCESSES)
def test_mutated_requests_are_no_errors(stack: Stack, process: str) -> None:
    @examples(250)
    @given(st.sampled_from(SEEDS), st.randoms(use_true_random=False), cuts, ways, st.booleans())
    def run(
        seed: bytes, chance: random.Random, sizes: list[int], how: str, behind_another: bool
    ) -> None:
        before = [get(b"/healthz")] if behind_another else []
        throw(stack.ports[process], [*before, *cut(mutated(seed, chance), sizes)], how)

    with nothing_logged(stack):
        run()


@pytest.mark.parametrize("process", PROCESSES)
def test_odd_heads_and_bytes_are_no_errors(stack: Stack, process: str) -> None:
    paths = st.sampled_from(
        [
            b"/notify",
            b"/users",
            b"/events?userId=1",
            b"/",
            b"/tokens",
            b"/tickets",
            b"/?ticket=rt_%ff",
            b"/events?userId=1&ticket=",
        ]
    )

    @examples(150)
    @given(starts, fields, paths, st.binary(max_size=40), cuts, ways)
    def run(
        start: bytes, lines: list[bytes], path: bytes, more: bytes, sizes: list[int], how: str
    ) -> None:
        data = whole(start.replace(b"/notify", path), lines)
        throw(stack.ports[process], cut(data + more, sizes), how)
        throw(stack.ports[process], [more], how)

    with nothing_logged(stack):
        run()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_who_leaves_amid_a_body_is_no_error(stack: Stack, how: str) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%b\r\n\r\n"
    with nothing_logged(stack):
        for path in (b"/notify", b"/users", b"/tokens", b"/nothing", b"/healthz"):
            for field in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
                for body in (b"", b'{"userId"', b'5\r\n{"us', b" " * 200_000):
                    for name in PROCESSES:
                        throw(stack.ports[name], [head % (path, field), body], how)


NAMES = [
    b"Origin", b"User-Agent", b"Cookie", b"Authorization", b"Accept", b"Last-Event-ID", b"Referer",
    b"Sec-WebSocket-Protocol", b"X-Forwarded-For", b"x-api-key", b"Idempotency-Key",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", [b"\xe9", "https://bücher.example".encode(), b"\xff\xfe", b"a\x80b"]
)
def test_odd_bytes_in_a_header_have_an_answer(stack: Stack, name: bytes, value: bytes) -> None:
    line = b"\r\n" + name + b": " + value + b"\r\n\r\n"
    room = uuid.uuid4().hex.encode()
    with nothing_logged(stack):
        for process, data in (
            ("server-1", SEEDS[0]),
            ("server-1", get(b"/healthz")),
            ("server-1", get(b"/users/1/notifications")),
            ("gateway-1", HANDSHAKE),
            ("gateway-1", get(b"/healthz")),
            ("gateway-1", get(b"/events?userId=1&room=" + room)),
            ("worker-1", get(b"/healthz")),
        ):
            with socket.create_connection((LOOPBACK, stack.ports[process]), timeout=30) as line_to:
                line_to.sendall(data.replace(b"\r\n\r\n", line, 1))
                assert line_to.recv(20).startswith(b"HTTP/1.1 "), process

"""One head means one thing: on the short way in, behind aiohttp, and on every port."""

import json
import socket
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.wire.flood import get
from tests.support.examples import examples
from tests.support.processes.process import LOOPBACK
from tests.support.processes.stack import Stack

BODY = b'{"type":"room","userId":1,"target":"nobody-is-here","message":"hi"}'
BAD_HEAD = ("not-http", "repeated-header", "head-too-large")
TIMEOUT_S = 30


class Answer(NamedTuple):
    status: int
    code: str
    detail: str
    an_id: str


class Line:
    """A connection, by hand and blocking, as Hypothesis wants it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_S)
        self._unread = b""

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, *, half_close: bool = False) -> None:
        self._socket.sendall(data)
        if half_close:
            self._socket.shutdown(socket.SHUT_WR)

    def read(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise EOFError("hung up on without an answer")
        return data

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self._unread:
            self._unread += self.read()
        head, _, rest = self._unread.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        while len(rest) < length:
            rest += self.read()
        body, self._unread = rest[:length], rest[length:]
        status = int(head.split(b" ", 2)[1])
        if status < 200:
            return self.answer()
        try:
            said = json.loads(body) if body else {}
        except ValueError:
            raise AssertionError(f"{head!r} {body!r}") from None
        found = said if isinstance(said, dict) else said[0]
        return Answer(status, found.get("code", ""), found.get("detail", ""), found.get("id", ""))


def ask(port: int, data: bytes, before: bytes = b"", *, half_close: bool = False) -> Answer:
    with Line(port) as line:
        if before:
            line.send(before)
            assert line.answer().status == 200
        line.send(data, half_close=half_close)
        return line.answer()


blanks = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t "])
odd = st.binary(max_size=6).filter(lambda value: b"\r\n\r\n" not in value)
VALUES: dict[bytes, list[bytes]] = {
    b"Host": [b"x", b"example.org:80", b"[::1]", b"", b"a b", b"\xe9", b"a/b"],
    b"Content-Type": [b"application/json", b"Application/JSON", b"text/plain", b"", b"\xff",
                      b'application/json; charset="utf-8"', b"application/json;charset=latin-1"],
    b"Content-Length": [b"%d" % len(BODY), b"0", b"", b"x", b"-1", b"+1", b"5, 5", b"0x5"],
    b"Idempotency-Key": [b"a-key", b"\xc3\xa9", b"\xff", b"", b"k" * 300, b"a b"],
    b"Authorization": [b"Bearer rk_invented", b"Basic eDp5", b"", b"Bearer \xff", b"Bearer  a.b.c"],
    b"x-api-key": [b"rk_invented", b"", b"\xff"],
    b"X-Forwarded-For": [b"192.0.2.1", b"\xff", b""],
    b"Connection": [b"keep-alive", b"close", b"Upgrade", b"Upgrade, HTTP2-Settings", b"x", b""],
    b"Upgrade": [b"h2c", b"websocket", b"TLS/1.2", b""],
    b"Transfer-Encoding": [b"chunked", b"gzip, chunked", b"identity", b""],
    b"Content-Encoding": [b"gzip", b"identity", b"br", b""],
    b"Expect": [b"100-continue", b"200-ok", b""],
    b"Origin": [b"https://a.example", b"\xfc", b"null", b""],
    b"X": [b"a", b"\xe9", b"\x7f", b"\x00", b"\x0b", b"a\rb", b"a\nb", b"a\r\n b", b"a\r\n\tb"],
}  # fmt: skip
common_lines = st.sampled_from(sorted(VALUES)).flatmap(
    lambda name: st.builds(
        lambda name, before, value, behind: name + b":" + before + value + behind,
        st.sampled_from([name, name.lower(), name.upper()]),
        blanks,
        st.sampled_from(VALUES[name]) | odd,
        blanks,
    )
)
lines = common_lines | st.sampled_from([b" folded", b"no colon", b": x", b"A : b", b"\xe9: b"])
starts = st.sampled_from(
    [b"POST /notify HTTP/1.1"] * 12
    + [b"POST /notify HTTP/1.0", b"POST /notify HTTP/2.0", b"POST /notify HTTP/1.2",
       b"POST /notify HTTP/0.9", b"POST /notify?a=b HTTP/1.1", b"POST  /notify HTTP/1.1"]
)  # fmt: skip
plain = st.just([b"Host: x", b"Content-Type: application/json", b"Content-Length: %d" % len(BODY)])
fields = st.builds(
    lambda base, without, more, order: order.sample(
        [line for n, line in enumerate(base) if n != without] + more,
        k=len([line for n, line in enumerate(base) if n != without] + more),
    ),
    plain,
    st.sampled_from([None, None, None, 0, 1, 2]),
    st.lists(lines, max_size=3),
    st.randoms(use_true_random=False),
)


def whole(start: bytes, fields: list[bytes]) -> bytes:
    head = b"\r\n".join([start, *fields, b"", b""])
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if b"chunked" in head.lower() else BODY
    return head + body


@examples(300)
@given(starts, fields, st.booleans())
def test_both_ways_in_say_the_same_to_any_head(
    stack: Stack, start: bytes, fields: list[bytes], half_close: bool
) -> None:
    port, data = stack.ports["server-1"], whole(start, fields)
    short = ask(port, data, half_close=half_close)
    long = ask(port, data, get(b"/healthz"), half_close=half_close)
    assert short[:3] == long[:3]
    if any(line.lower().startswith(b"idempotency-key") for line in fields):
        # One key, one notification, whichever way it came.
        assert short.an_id == long.an_id


@examples(300)
@given(starts, fields)
def test_every_port_takes_and_refuses_the_same_heads(
    stack: Stack, start: bytes, fields: list[bytes]
) -> None:
    head = b"\r\n".join([start.replace(b"/notify", b"/nothing"), *fields, b"", b""])
    said = {ask(stack.ports[name], head) for name in ("server-1", "gateway-1", "worker-1")}
    refused = {answer for answer in said if answer.code in BAD_HEAD}
    # What they do with a good one differs: one looks at credentials, another has sockets.
    assert not refused or len(said) == 1


UPGRADES = [
    (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"),
    (b"Upgrade: h2c",),
    (b"Connection: upgrade",),
    (b"Connection: Upgrade", b"Upgrade: TLS/1.2"),
    (b"Connection: Upgrade", b"Upgrade: h2c, foo"),
    (b"Connection: Upgrade", b"Upgrade: \xff"),
]


@pytest.mark.parametrize("fields", UPGRADES)
def test_an_upgrade_that_is_not_spoken_here_is_ignored(
    stack: Stack, fields: tuple[bytes, ...]
) -> None:
    server = stack.ports["server-1"]
    plain = [b"Host: x", b"Content-Type: application/json"]
    sized = b"\r\n".join(
        [b"POST /notify HTTP/1.1", *plain, b"Content-Length: %d" % len(BODY), *fields, b"", BODY]
    )
    chunks = whole(b"POST /notify HTTP/1.1", [*plain, b"Transfer-Encoding: chunked", *fields])
    for data in (sized, chunks):
        # Whole, in two, byte by byte; each time the connection goes on.
        for size in (len(data), len(data) - len(BODY), 1):
            with Line(server) as line:
                for at in range(0, len(data), size):
                    line.send(data[at : at + size])
                assert line.answer().status == 202
                line.send(get(b"/healthz"))
                assert line.answer().status == 200
    for name in ("server-1", "gateway-1", "worker-1"):
        data = b"\r\n".join([b"GET /healthz HTTP/1.1", b"Host: x", *fields, b"", b""])
        assert ask(stack.ports[name], data).status == 200
    websocket = (b"Connection: Upgrade", b"Upgrade: websocket")
    data = b"\r\n".join([b"POST /notify HTTP/1.1", *plain, b"Content-Length: %d" % len(BODY),
                         *websocket, b"", BODY])  # fmt: skip
    assert ask(server, data).status == 202

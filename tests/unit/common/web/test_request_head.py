"""What is a request's head, and what it says; the same on every port and on every way in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.problems import Problem
from common.web.request_head import (
    FIELDS_MAX,
    HEAD_MAX_BYTES,
    ONCE,
    check_beginning,
    read_head,
)
from tests.support.examples import examples

POST = b"POST /notify HTTP/1.1"


def head(*fields: bytes, start: bytes = POST, host: bytes = b"Host: x") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *fields, b"", b""])


def refusal(data: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        read_head(data)
    return refused.value


@pytest.mark.parametrize("blanks", [b"", b" ", b"\t", b" \t \t"])
@pytest.mark.parametrize(
    "name", [b"Idempotency-Key", b"x-api-key", b"Authorization", b"Content-Type", b"X-Other"]
)
def test_blanks_around_a_value_are_no_part_of_it(name: bytes, blanks: bytes) -> None:
    read = read_head(head(name + b":" + blanks + b"a b" + blanks))
    assert read.field(name.lower()) == "a b"
    assert read.lines[1] == (name, b"a b")


@pytest.mark.parametrize("blanks", [b"", b" ", b"\t", b" \t "])
def test_blanks_around_a_length_and_a_coding_are_no_part_of_them(blanks: bytes) -> None:
    assert read_head(head(b"Content-Length:" + blanks + b"5" + blanks)).length == 5
    assert read_head(head(b"Transfer-Encoding:" + blanks + b"Chunked" + blanks)).is_chunked
    assert not read_head(head(b"Connection:" + blanks + b"Close" + blanks)).keeps_alive


@pytest.mark.parametrize("name", sorted(ONCE))
def test_a_field_that_may_be_there_once_is_refused_twice(name: bytes) -> None:
    value = {b"content-length": b"2", b"transfer-encoding": b"chunked"}.get(name, b"a")
    host = b"" if name == b"host" else b"Host: x"
    once = head(name.title() + b": " + value, host=host)
    assert read_head(once).fields[name] == value
    for second in (value, b"", b"3"):
        twice = head(name.title() + b": " + value, name + b": " + second, host=host)
        assert refusal(twice).status == 400


def test_other_fields_are_joined_in_their_order() -> None:
    read = read_head(head(b"X-Forwarded-For: 192.0.2.1, 10.0.0.1", b"x-forwarded-for:198.51.100.7"))
    assert read.field(b"x-forwarded-for") == "192.0.2.1, 10.0.0.1, 198.51.100.7"


@pytest.mark.parametrize(
    "data",
    [
        head(start=b"POST /notify HTTP/0.9"),
        head(start=b"POST /notify HTTP/1.2"),
        head(start=b"POST /notify HTTP/2.0"),
        head(start=b"POST /notify HTTP/3.0"),
        head(start=b"POST /notify HTTP/11.1"),
        head(start=b"POST /notify http/1.1"),
        head(start=b"POST /notify"),
        head(start=b"PRI * HTTP/2.0"),
        head(start=b"SOURCE /notify ICE/1.0"),
        head(start=b"DESCRIBE /notify RTSP/1.0"),
        head(start=b"FOO /notify HTTP/1.1"),
        head(start=b"post /notify HTTP/1.1"),
        head(start=b"POST /no tify HTTP/1.1"),
        head(start=b"POST /notify HTTP/1.1 "),
        head(start=b"POST /\xe9 HTTP/1.1"),
        head(start=b"CONNECT a:1 HTTP/1.1"),
        head(start=b"POST /notify HTTP/1.1\r"),
        head(start=b"\r\n\r\nPOST /notify HTTP/1.1"),
        head(host=b""),
        head(host=b"Host: a b"),
        head(host=b"Host: a/b"),
        head(host=b"Host: \xe9"),
        head(host=b"Host : x"),
        head(b" folded: y"),
        head(b"X: a\r\n b"),
        head(b"X: a\r\n\tb"),
        head(b"X: a\r\n \t"),
        head(b"X: a", b" ", b"Y: b"),
        head(b"X: a\rb"),
        head(b"X: a\nb"),
        head(b"X: \x00"),
        head(b"X: \x01"),
        head(b"X\xe9: a"),
        head(b"X : a"),
        head(b": a"),
        head(b"no colon"),
        head(b"Content-Length: -1"),
        head(b"Content-Length: +1"),
        head(b"Content-Length: 0x1"),
        head(b"Content-Length: 1, 1"),
        head(b"Content-Length: 99999999999999999999999"),
        head(b"Content-Length:"),
        head(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: gzip, chunked"),
        head(b"Transfer-Encoding: chunked, chunked"),
        head(b"Transfer-Encoding: identity"),
        head(b"Transfer-Encoding: gzip"),
        head(b"Transfer-Encoding:"),
        head(b"Transfer-Encoding: chunked", start=b"POST /notify HTTP/1.0"),
        b"\r\n\r\n",
    ],
)
def test_what_is_no_head_of_http_1_1_is_refused(data: bytes) -> None:
    assert refusal(data).status == 400


def test_a_head_that_is_too_large_is_refused() -> None:
    assert refusal(head(b"X: " + b"a" * HEAD_MAX_BYTES)).status == 431
    assert refusal(head(*[b"a:b"] * FIELDS_MAX)).status == 431
    assert len(read_head(head(*[b"a:b"] * (FIELDS_MAX - 1))).lines) == FIELDS_MAX


@pytest.mark.parametrize(
    ("data", "version", "keeps_alive"),
    [
        (head(), (1, 1), True),
        (b"\r\n" + head(), (1, 1), True),
        (head(start=b"POST /notify HTTP/1.0", host=b""), (1, 0), False),
        (head(b"Connection: Keep-Alive", start=b"GET / HTTP/1.0"), (1, 0), True),
        (head(b"Connection: x, close"), (1, 1), False),
        (head(b"Connection: x", b"Connection: close"), (1, 1), False),
        (head(b"Connection: Upgrade", b"Upgrade: h2c"), (1, 1), True),
        (head(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 5"), (1, 1), True),
        (head(b"Connection: Upgrade", b"Upgrade: websocket"), (1, 1), True),
        (head(b"Origin: \xff", b"User-Agent: \xe9"), (1, 1), True),
    ],
)  # fmt: skip
def test_these_are_heads(data: bytes, version: tuple[int, int], keeps_alive: bool) -> None:
    read = read_head(data)
    assert (read.version, read.keeps_alive) == (version, keeps_alive)


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01", b"\0", b"get /", b"GET / HTTP/1.1\nHost: x", b"\n"]
)
def test_a_beginning_that_nothing_makes_good_is_not_waited_for(data: bytes) -> None:
    with pytest.raises(Problem):
        check_beginning(data)


@examples(300)
@given(st.lists(st.binary(max_size=30), max_size=5), st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(fields: list[bytes], start: bytes) -> None:
    for data in (head(*fields), head(*fields, start=start), start + b"\r\n\r\n"):
        refused = None
        try:
            read_head(data)
        except Problem as problem:
            refused = problem
        if refused is None:
            # A field may hold the end of a head; what is behind it is not looked at.
            for cut in range(data.index(b"\r\n\r\n") + 1):
                check_beginning(data[:cut])
        else:
            assert refused.status in (400, 431)
            assert refused.body()

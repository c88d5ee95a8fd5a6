"""Which requests the short way in takes, and what it makes of their heads."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.notify.fast_path import _encode
from server.notify.handler import Reply
from server.notify.head_cache import KNOWN_MAX, HeadReader
from server.web.bodies import BODY_MAX_BYTES
from tests.support.examples import examples

START = b"POST /notify HTTP/1.1\r\n"


def decide(raw: bytes) -> Any:
    return HeadReader().read(raw, 0, head_size(raw))


def head_size(raw: bytes) -> int:
    return raw.find(b"\r\n\r\n") + 4


def raw(*fields: bytes, body: bytes = b"{}", start: bytes = START, length: bool = True) -> bytes:
    own = [b"Content-Length: %d" % len(body)] if length else []
    return start + b"\r\n".join([b"Host: x", *own, *fields, b"", b""]) + body


def test_a_plain_request_is_taken_with_what_its_head_says() -> None:
    whole = raw(b"Content-Type: application/json", b"idempotency-key: k 1", b"X-Other: y")
    head = decide(whole + b"POST")
    assert (head.content_type, head.idempotency_key, head.length) == ("application/json", "k 1", 2)
    assert whole[head_size(whole) :][: head.length] == b"{}"


def test_a_head_that_is_known_says_the_same_and_the_body_is_looked_at_each_time() -> None:
    reader, whole = HeadReader(), raw(b"Content-Type: application/json")
    size = head_size(whole)
    head = reader.read(whole, 0, size)
    assert head is not None
    assert reader.read(whole + whole, 0, size) is head
    assert reader.read(whole[:-1], 0, size) is None
    for number in range(2 * KNOWN_MAX):
        other = raw(b"Idempotency-Key: %d" % number)
        found = reader.read(other, 0, head_size(other))
        assert found is not None
        assert found.idempotency_key == str(number)
    assert len(reader._known) <= KNOWN_MAX


@pytest.mark.parametrize(
    "whole",
    [
        raw(b"Connection: keep-alive"),
        raw(b"Connection: Keep-Alive"),
        raw(b"Accept: */*", b"User-Agent: curl"),
        raw(body=b""),
        raw(body=b"x" * BODY_MAX_BYTES),
    ],
)
def test_these_are_plain(whole: bytes) -> None:
    assert decide(whole) is not None


@pytest.mark.parametrize(
    "whole",
    [
        raw(b"Transfer-Encoding: chunked", length=False),
        raw(b"Expect: 100-continue"),
        raw(b"Upgrade: websocket"),
        raw(b"Connection: close"),
        raw(b"Connection: upgrade"),
        raw(b"Content-Encoding: gzip"),
        raw(b"Content-Type: a", b"Content-Type: b"),
        raw(b"Idempotency-Key: a", b"Idempotency-Key: b"),
        raw(b"Content-Length: 3"),
        raw(b"Ho st: x"),
        raw(length=False),
        raw()[:-1],
        raw(body=b"x" * (BODY_MAX_BYTES + 1)),
        raw(start=b"POST /notify HTTP/1.0\r\n"),
        raw(start=b"POST /notify/ HTTP/1.1\r\n"),
        raw(start=b"POST /notify?x HTTP/1.1\r\n"),
        raw(start=b"post /notify HTTP/1.1\r\n"),
        raw(start=b"GET /notify HTTP/1.1\r\n"),
        raw(start=b"\r\n" + START),
    ],
)
def test_these_are_for_aiohttp(whole: bytes) -> None:
    assert decide(whole) is None


@examples(300)
@given(st.lists(st.binary(max_size=30), max_size=4), st.binary(max_size=10))
def test_any_head_is_decided_and_nothing_is_raised(fields: list[bytes], body: bytes) -> None:
    whole = raw(*fields, body=body)
    head = decide(whole)
    if head is not None:
        assert 0 <= head.length <= len(whole) - head_size(whole)


@pytest.mark.parametrize("status", [202, 400, 409, 413, 415, 422, 503])
def test_an_answer_has_its_length(status: int) -> None:
    data = _encode(Reply(status, {"Content-Type": "application/json"}, b"{}"))
    assert data.startswith(b"HTTP/1.1 %d " % status)
    assert data.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")

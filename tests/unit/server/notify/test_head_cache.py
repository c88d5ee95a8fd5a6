"""Heads that are served in front of aiohttp, and the fields that are read from them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.web.request_head import HEAD_MAX_BYTES
from server.notify.head_cache import KNOWN_MAX, KNOWN_MAX_BYTES, HeadReader, may_be_plain
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


def test_a_head_that_is_too_long_to_keep_is_read_each_time() -> None:
    reader, whole = HeadReader(), raw(b"X-Long: " + b"x" * KNOWN_MAX_BYTES)
    first = reader.read(whole, 0, head_size(whole))
    again = reader.read(whole, 0, head_size(whole))
    assert first is not None
    assert again is not None
    assert again is not first


def test_a_head_is_read_from_the_middle_of_what_came() -> None:
    first, second = raw(b"Idempotency-Key: a"), raw(b"Idempotency-Key: b", body=b"[1]")
    head = HeadReader().read(first + second, len(first), len(first) + head_size(second))
    assert head is not None
    assert (head.idempotency_key, head.length) == ("b", 3)


def test_credentials_and_addresses_are_handed_on_as_they_came() -> None:
    head = decide(
        raw(b"Authorization: Bearer t", b"X-API-Key: rk_1", b"X-Forwarded-For: 192.0.2.1, ::1")
    )
    assert (head.authorization, head.api_key) == ("Bearer t", "rk_1")
    assert head.forwarded_for == "192.0.2.1, ::1"
    plain = decide(raw())
    assert (plain.authorization, plain.api_key, plain.forwarded_for) == (None, None, None)


@pytest.mark.parametrize(
    ("beginning", "may_be"),
    [
        (b"", True),
        (b"P", True),
        (START, True),
        (START + b"Host: x\r\nContent-Le", True),
        (b"G", False),
        (b"POST /notifications HTTP/1.1\r\n", False),
        (START + b"X: " + b"x" * HEAD_MAX_BYTES, False),
    ],
)
def test_a_beginning_is_waited_for_only_if_it_may_become_a_plain_head(
    beginning: bytes, may_be: bool
) -> None:
    assert may_be_plain(beginning) is may_be

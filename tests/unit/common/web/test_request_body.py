"""Bodies come whole, however they are cut, and nothing behind them is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.web.request_body import CHUNKS_AT_ONCE, BodyError, ChunkedBody, SizedBody
from tests.support.examples import examples

BEHIND = b"GET / HTTP/1.1\r\n"
chunks = st.lists(st.binary(min_size=1, max_size=20), max_size=8)


def taken(body: SizedBody | ChunkedBody, data: bytes, steps: list[int]) -> tuple[bytes, bytes]:
    """The body, and what is left, if the data comes in steps of these sizes."""
    found, unread, sent = b"", b"", 0
    while not body.is_complete:
        step = steps[sent % len(steps)]
        sent += 1
        before = unread
        unread += data[:step]
        data = data[step:]
        piece, at = body.take(unread, 0)
        found += piece
        unread = unread[at:]
        if not data and unread == before and not body.is_complete:
            raise AssertionError("it never ends")
    return found, unread + data


def encoded(pieces: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return coded + b"0" + extension + b"\r\n" + trailer + b"\r\n"


steps = st.lists(st.integers(1, 30), min_size=1, max_size=5)


@examples(200)
@given(chunks, steps, st.sampled_from([b"", b";a", b' ;a="b c"', b";"]),
       st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: \xe9\r\n"]))  # fmt: skip
def test_chunks_are_put_together_however_they_come(
    pieces: list[bytes], steps: list[int], extension: bytes, trailer: bytes
) -> None:
    data = encoded(pieces, extension, trailer) + BEHIND
    assert taken(ChunkedBody(), data, steps) == (b"".join(pieces), BEHIND)


@examples(100)
@given(st.binary(max_size=100), steps)
def test_a_body_with_a_length_ends_there(whole: bytes, steps: list[int]) -> None:
    assert taken(SizedBody(len(whole)), whole + BEHIND, steps) == (whole, BEHIND)


def test_many_chunks_are_taken_in_several_goes() -> None:
    body, data = ChunkedBody(), encoded([b"x"] * 3 * CHUNKS_AT_ONCE)
    piece, at = body.take(data, 0)
    assert 0 < len(piece) <= CHUNKS_AT_ONCE
    assert at < len(data)


@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n", b"\r\n", b"-1\r\n", b"+1\r\n", b" 1\r\n", b"0x1\r\n", b"1\n", b"1\nx\r\n",
        b"1 \r\n", b"1\r\nxy\r\n", b"1\r\nx\n0\r\n", b"1;\x00\r\nx", b"1;a\nb\r\nx",
        b"1;" + b"a" * 300 + b"\r\n", b"1" * 300, b"1" * 20 + b"\r\n", b"0\r\nA\nB: c\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 3_000,
    ],
)  # fmt: skip
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(BodyError):
        taken(ChunkedBody(), data + b"\r\n" * 2, [1_000])


@examples(300)
@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    body, at = ChunkedBody(), 0
    try:
        while not body.is_complete:
            before = at
            at = body.take(data, at)[1]
            if at == before:
                break
    except BodyError:
        pass
    assert at <= len(data)

"""The frame reader and builders, against the sans-I/O protocol of `websockets`."""

import codecs
import random
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Close as WireClose
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from tests.support.examples import count, examples
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.frames import (
    PING,
    Binary,
    Close,
    FrameError,
    FrameReader,
    MessagePart,
    Ping,
    Pong,
    Received,
    Text,
    close_frame,
    pong_frame,
    text_frame,
)

MAX = 16_384
CONTROL = (Opcode.PING, Opcode.PONG, Opcode.CLOSE)


def frame(opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason)


def feed(reader: FrameReader, data: bytes) -> Iterator[Received]:
    """What can be read once `data` has come, but the fragments of what is not complete."""
    reader.receive(data)
    while (item := reader.read()) is not None:
        if not isinstance(item, MessagePart):
            yield item


def read(
    chunks: Iterable[bytes], max_bytes: int = MAX, *, renew: bool = False
) -> tuple[list[Received], int | None]:
    """Messages, and the close code of the error if there was one."""
    reader, found = FrameReader(max_bytes), list[Received]()
    try:
        for chunk in chunks:
            for item in feed(reader, chunk):
                found.append(item)
                if isinstance(item, Close):
                    return found, None
            if renew and reader.at_rest:
                reader = FrameReader(max_bytes)
    except FrameError as error:
        return found, error.code
    return found, None


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(n % (len(data) + 1) for n in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


# What is built.


def name(value: object) -> str:
    """Name of a parameter; a frame has a random mask, and can't be its own."""
    return "frame" if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_text_frame_is_what_websockets_writes_and_reads(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


def test_control_frames_are_what_websockets_writes() -> None:
    assert Frame(Opcode.PING, b"").serialize(mask=False) == PING
    assert pong_frame(b"ab") == Frame(Opcode.PONG, b"ab").serialize(mask=False)
    assert pong_frame(b"x" * 125) == Frame(Opcode.PONG, b"x" * 125).serialize(mask=False)


@pytest.mark.parametrize("code", [*CloseCode, 4999, 3000])
def test_a_close_frame_can_be_read_and_says_why(code: int) -> None:
    client = Protocol(Side.CLIENT, state=State.OPEN)
    client.receive_data(close_frame(code))
    (received,) = client.events_received()
    assert isinstance(received, Frame)
    parsed = WireClose.parse(received.data)
    assert parsed.code == code
    assert bool(parsed.reason) == (code in list(CloseCode))


# What is read.

data_messages = st.builds(
    lambda text, binary, cuts: ("binary" if binary else "text", text.encode(), cuts),
    st.text(max_size=300),
    st.booleans(),
    st.lists(st.integers(0, 1_000), max_size=4),
)
control_messages = st.tuples(st.sampled_from(["ping", "pong"]), st.binary(max_size=125))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Received], bytes]:
    """Messages, and one of the ways to send them: fragmented, control frames between fragments."""
    expected: list[Received] = []
    wire = b""

    def control() -> None:
        nonlocal wire
        kind, payload = draw(control_messages)
        wire += frame(Opcode.PING if kind == "ping" else Opcode.PONG, payload)
        expected.append(Ping(payload) if kind == "ping" else Pong())

    for _ in range(draw(st.integers(0, 5))):
        if draw(st.integers(0, 3)) == 0:
            control()
            continue
        kind, payload, cuts = draw(data_messages)
        parts = cut(payload, cuts)
        for number, part in enumerate(parts):
            opcode = Opcode.CONT
            if number == 0:
                opcode = Opcode.BINARY if kind == "binary" else Opcode.TEXT
            wire += frame(opcode, part, fin=number == len(parts) - 1)
            if number < len(parts) - 1 and draw(st.booleans()):
                control()
        expected.append(Binary() if kind == "binary" else Text(payload.decode()))
    return expected, wire


@examples(300)
@given(streams(), st.lists(st.integers(0, 5_000), max_size=8), st.booleans())
def test_any_messages_come_out_however_they_are_fragmented_and_cut(
    stream: tuple[list[Received], bytes], cuts: list[int], renew: bool
) -> None:
    expected, wire = stream
    assert read(cut(wire, cuts), renew=renew) == (expected, None)


@examples(50)
@given(streams())
def test_one_byte_at_a_time_is_as_good(stream: tuple[list[Received], bytes]) -> None:
    expected, wire = stream
    assert read([wire[n : n + 1] for n in range(len(wire))], renew=True) == (expected, None)


def test_a_reader_is_at_rest_between_messages_only() -> None:
    wire = frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.PING) + frame(Opcode.CONT, b"b")
    reader = FrameReader(MAX)
    rests = []
    for n in range(len(wire)):
        assert list(feed(reader, wire[n : n + 1])) is not None
        rests.append(reader.at_rest)
    assert rests == [False] * (len(wire) - 1) + [True]


def reference(wire: bytes, max_bytes: int) -> tuple[list[Received], int | None]:
    """What `websockets` makes of a stream."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=max_bytes)
    protocol.receive_data(wire)
    found: list[Received] = []
    kind, parts = Opcode.TEXT, b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.PING:
            found.append(Ping(bytes(event.data)))
        elif event.opcode is Opcode.PONG:
            found.append(Pong())
        elif event.opcode is Opcode.CLOSE:
            code = WireClose.parse(event.data).code
            found.append(Close(1000 if code == 1005 else code))
            return found, None
        else:
            if event.opcode is not Opcode.CONT:
                kind, parts = event.opcode, b""
                decoder.reset()
            parts += bytes(event.data)
            if kind is Opcode.TEXT:
                try:
                    decoder.decode(bytes(event.data), event.fin)
                except UnicodeDecodeError:
                    return found, CloseCode.NOT_TEXT
            if event.fin:
                found.append(Text(parts.decode()) if kind is Opcode.TEXT else Binary())
    if str(protocol.parser_exc) == "incomplete fragmented message":
        # A close between fragments counts: control frames may lie between them (RFC 6455, 5.4).
        assert protocol.close_rcvd is not None
        code = protocol.close_rcvd.code
        return [*found, Close(1000 if code == 1005 else code)], None
    failed = protocol.close_sent if protocol.parser_exc else None
    return found, failed.code if failed else None


def mutated(wire: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(wire)
    for where, value in changes:
        if changed:
            changed[where % len(changed)] = value
    return bytes(changed)


near_frames = st.builds(
    mutated,
    streams().map(lambda stream: stream[1]),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
)
heads = st.builds(
    lambda one, two, rest: bytes((one, two)) + rest,
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(max_size=40),
)


LONGER_THAN_NEED_BE: Final = "would have sufficed|Control frame with payload"
"""How wsproto refuses a length that would fit into fewer bytes, which RFC 6455, 5.2 forbids."""


@examples(600)
@given(near_frames | heads | st.binary(max_size=80), st.sampled_from([125, 200, 300]))
@example(b"\x88\xfe\x00\x00", 125)
@example(b"\x89\xfe\x00\x00", 125)
@example(b"\x01\x80\x00\x00\x00\x00\x88\x80\x00\x00\x00\x00", 125)
def test_what_is_broken_is_told_apart_as_websockets_does(wire: bytes, max_bytes: int) -> None:
    # Either may see a fault before its frame is whole; here every frame becomes whole.
    wire += bytes(70_000)
    found, code = read([wire], max_bytes)
    expected, expected_code = reference(wire, max_bytes)
    if code is None:
        # A close; an illegal one is answered with the code that says so.
        if expected_code is None:
            assert found == expected
        else:
            assert found[:-1] == expected
            # (A forbidden code and a reason that is no text are two faults.)
            assert found[-1] in (Close(expected_code), Close(CloseCode.PROTOCOL_ERROR))
        return
    if expected_code is None:
        # websockets takes such a length.
        assert code == CloseCode.PROTOCOL_ERROR
        with pytest.raises(FrameError, match=LONGER_THAN_NEED_BE):
            list(feed(FrameReader(max_bytes), wire))
        return
    # Of two faults in one message, either may be seen first.
    assert found == expected[: len(found)]
    if code == expected_code and found != expected:
        # As above, with a fault behind it.
        with pytest.raises(FrameError, match=LONGER_THAN_NEED_BE):
            list(feed(FrameReader(max_bytes), wire))


@examples(400)
@given(
    st.binary(max_size=2_000) | heads | near_frames,
    st.lists(st.integers(0, 2_000), max_size=5),
)
def test_garbage_raises_nothing_but_frame_errors_and_cuts_do_not_matter(
    wire: bytes, cuts: list[int]
) -> None:
    assert read(cut(wire, cuts)) == read([wire])


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (Frame(Opcode.TEXT, b"a").serialize(mask=False), 1002),
        (bytes([0x91, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0xC1, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0xA1, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0x83, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0x8B, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0x09, 0x80, 0, 0, 0, 0]), 1002),
        (bytes([0x89, 0xFE, 0, 126]) + b"x" * 130, 1002),
        (frame(Opcode.CONT, b"a"), 1002),
        (frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"a"), 1002),
        (bytes([0x81, 0xFE, 0, 5]), 1002),
        (bytes([0x81, 0xFF]) + (5).to_bytes(8, "big"), 1002),
        (bytes([0x81, 0xFF, 0x80]) + b"\0" * 7, 1002),
        (frame(Opcode.TEXT, b"\xff"), 1007),
        (frame(Opcode.TEXT, b"\xc3"), 1007),
        (frame(Opcode.TEXT, b"\xc3", fin=False) + frame(Opcode.CONT, b"x"), 1007),
        (frame(Opcode.TEXT, b"\xed\xa0\x80"), 1007),
        (bytes([0x81, 0xFF]) + (2**62).to_bytes(8, "big") + b"mask", 1009),
    ],
    ids=name,
)
def test_each_way_to_break_the_protocol_has_its_close_code(wire: bytes, code: int) -> None:
    assert read([wire]) == ([], code)
    assert read([wire[n : n + 1] for n in range(len(wire))]) == ([], code)


@pytest.mark.parametrize(
    ("wire", "answer"),
    [
        (frame(Opcode.CLOSE), 1000),
        (close(1000), 1000),
        (close(1001, b"going away"), 1001),
        (close(3000), 3000),
        (close(4999), 4999),
        (frame(Opcode.CLOSE, b"\x03"), 1002),
        *((close(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)),
        (close(1000, b"\xff"), 1007),
    ],
    ids=name,
)
def test_a_close_is_answered_with_its_code_or_the_code_of_its_fault(
    wire: bytes, answer: int
) -> None:
    assert read([wire]) == ([Close(answer)], None)


def test_nothing_behind_a_close_is_read() -> None:
    assert read([close(1000) + frame(Opcode.TEXT, b"late") + b"\xff\xff"]) == ([Close(1000)], None)


@pytest.mark.parametrize("parts", [1, 2, 5, 100])
@pytest.mark.parametrize(("over", "code"), [(0, None), (1, CloseCode.TOO_LARGE)])
def test_the_bound_is_of_a_message_over_all_its_fragments(
    parts: int, over: int, code: int | None
) -> None:
    payload = b"x" * (MAX + over)
    cuts = random.Random(parts).sample(range(1, MAX), parts - 1)
    pieces = cut(payload, cuts)
    wire = b"".join(
        frame(Opcode.CONT if n else Opcode.TEXT, piece, fin=n == len(pieces) - 1)
        for n, piece in enumerate(pieces)
    )
    for chunk in (len(wire), 1_000, 7):
        chunks = [wire[n : n + chunk] for n in range(0, len(wire), chunk)]
        found, seen = read(chunks)
        assert seen == code
        assert found == ([Text(payload.decode())] if code is None else [])


def test_the_bound_counts_bytes_and_not_characters() -> None:
    assert read([frame(Opcode.TEXT, "é".encode() * (MAX // 2))])[1] is None
    assert read([frame(Opcode.TEXT, "é".encode() * (MAX // 2) + b"x")])[1] == CloseCode.TOO_LARGE


@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
@pytest.mark.parametrize("piece", [b"", b"x"])
def test_a_message_of_endless_fragments_takes_no_endless_memory(
    opcode: Opcode, piece: bytes
) -> None:
    reader = FrameReader(MAX)
    tail = frame(Opcode.CONT, piece, fin=False) * 1_000
    rounds = count(60)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        list(feed(reader, frame(opcode, b"x", fin=False)))
        code = None
        try:
            for _ in range(rounds):
                list(feed(reader, tail))
        except FrameError as error:
            code = error.code
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert code == CloseCode.TOO_LARGE
    assert after - before < 20 * MAX


def test_a_large_frame_is_refused_by_its_head() -> None:
    reader = FrameReader(MAX)
    head: Any = bytes([0x82, 0xFE]) + (MAX + 1).to_bytes(2, "big") + b"mask"
    with pytest.raises(FrameError):
        list(feed(reader, head))

"""Ids of Server-Sent Events hold all positions, within bounds."""

import base64
import zlib

from hypothesis import given
from hypothesis import strategies as st

from common.model.publication import Position
from tests.support import strategies
from tests.support.examples import examples
from ws_gateway.protocol import event_ids
from ws_gateway.protocol.event_ids import LOST, MAX_CHARACTERS, EventIds, longest_id, read_event_id

EPOCHS = st.one_of(
    st.sampled_from(["ab12cd34", "AB12CD34", "00000000", "?"]),
    st.text("abcdef0123456789-", min_size=1, max_size=64),
)
POSITIONS = st.builds(Position, EPOCHS, st.integers(0, 2**35 - 1))


@examples(300)
@given(st.dictionaries(strategies.ids.map(str), POSITIONS, max_size=6))
def test_an_id_holds_any_positions(channels: dict[str, Position]) -> None:
    positions = {f"room:{name}": position for name, position in channels.items()}
    text = EventIds(positions).id().decode("ascii")
    assert text.replace("-", "").replace("_", "").isalnum()
    assert len(text) <= longest_id(len(positions))
    found = read_event_id(text, positions)
    assert found.keys() == positions.keys()
    if sum(len(position.epoch) + 3 for position in positions.values()) <= 64:
        assert found == positions
    else:
        # Longer names of epochs than there ever are.
        assert all(found[channel] in (LOST, positions[channel]) for channel in found)


@examples(200)
@given(
    st.dictionaries(st.text(max_size=5), POSITIONS, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2**35)), max_size=9),
)
def test_an_id_follows_its_channels_through_epochs(
    start: dict[str, Position], moves: list[tuple[int, int, int]]
) -> None:
    at = dict.fromkeys(start, Position("00000000", 1))
    ids = EventIds(at)
    for which, epoch, offset in moves:
        channel = list(at)[which % len(at)]
        at[channel] = Position(f"{epoch:08x}", offset)
        ids.move(channel, at[channel])
    assert read_event_id(ids.id().decode(), at) == at


def test_a_hundred_of_the_longest_rooms_fit_into_two_thousand_characters() -> None:
    rooms = {
        "room:" + "\N{GRINNING FACE}" * 125 + f"{n:03}": Position("ab12cd34", 10**10)
        for n in range(100)
    }
    text = EventIds(rooms).id().decode()
    assert len(text) < 2_000
    assert read_event_id(text, rooms) == rooms


def test_what_does_not_fit_is_lost_and_never_mistaken() -> None:
    rooms = {f"room:{n}": Position(f"{n:08x}", 2**50) for n in range(3_000)}
    text = EventIds(rooms).id().decode()
    assert len(text) <= MAX_CHARACTERS
    found = read_event_id(text, rooms)
    assert found.keys() == rooms.keys()
    known = {channel for channel, position in found.items() if position != LOST}
    assert 100 < len(known) < 1_000
    assert all(found[channel] == rooms[channel] for channel in known)


def test_a_channel_that_the_stream_did_not_have_is_not_named() -> None:
    text = EventIds({"room:1": Position("ab12cd34", 1)}).id().decode()
    assert read_event_id(text, ["room:2"]) == {}


def test_of_two_channels_with_one_hash_neither_is_believed() -> None:
    positions = {name: Position("ab12cd34", 5) for name in ("room:1", "room:2", "room:3")}
    real = event_ids._hash
    try:
        event_ids._hash = lambda channel: b"equal." if channel != "room:3" else b"other."
        found = read_event_id(EventIds(positions).id().decode(), positions)
    finally:
        event_ids._hash = real
    assert found == {"room:1": LOST, "room:2": LOST, "room:3": positions["room:3"]}


@examples(300)
@given(st.one_of(st.text(max_size=80), st.binary(max_size=60)))
def test_whatever_comes_is_read(what: str | bytes) -> None:
    if isinstance(what, bytes):
        # The sum is right, what it is of is anything.
        whole = b"\1" + zlib.crc32(what).to_bytes(4, "big") + what
        what = base64.urlsafe_b64encode(whole).rstrip(b"=").decode()
    for position in read_event_id(what, ["broadcast", "user:1"]).values():
        assert position.offset >= 0
        assert position.epoch.isascii()

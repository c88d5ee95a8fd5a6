import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.publication import Position, Publication, parse_publication
from tests.support.examples import examples

epochs = st.sampled_from(["", "a", "deadbeef"])
positions = st.builds(Position, epochs, st.integers(0, 5))


@examples(200)
@given(
    st.text("0123456789abcdef", min_size=1, max_size=8),
    st.integers(1, 2**53),
    st.integers(0, 2**45),
    st.none() | st.builds(Position, st.sampled_from(["", "e", "0a"]), st.integers(0, 2**53)),
    st.binary(max_size=50),
)
def test_a_payload_is_split_into_what_it_was_made_of(
    epoch: str, offset: int, accepted: int, base: Position | None, text: bytes
) -> None:
    last = "-" if base is None else f"{base.epoch}:{base.offset}"
    payload = f"{epoch} {offset} {accepted} {last}\n".encode() + text
    assert parse_publication(payload) == Publication(epoch, offset, accepted, base, text)


@examples(300)
@given(st.binary(max_size=60) | st.from_regex(rb"[a-f0-9]{0,3} -?\d* \d* [-a:0-9]*\n?.*"))
def test_what_is_no_publication_raises_value_error_and_nothing_else(payload: bytes) -> None:
    try:
        parse_publication(payload)
    except ValueError:
        return
    assert payload.count(b" ") >= 3


@pytest.mark.parametrize("payload", [b"", b"e 1 1 -", b"e x 1 -\n", b"e 1 1\n", b"e 1 1 base\n",
                                     b"\xff 1 1 -\n", b"e 1 1 - -\n"])  # fmt: skip
def test_a_broken_header_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        parse_publication(payload)


def test_the_next_offset_follows_and_no_other() -> None:
    at = Position("a", 4)
    assert Publication("a", 5, 0, None, b"").follows(at)
    for offset in (3, 4, 6):
        assert not Publication("a", offset, 0, None, b"").follows(at)
    assert not Publication("b", 5, 0, None, b"").follows(at)


def test_the_first_of_an_epoch_follows_on_the_end_of_the_one_before() -> None:
    first = Publication("b", 5, 0, Position("a", 4), b"")
    assert first.follows(Position("a", 4))
    assert not first.follows(Position("a", 3))
    assert not first.follows(Position("c", 4))


@examples(200)
@given(st.builds(Publication, epochs, st.integers(1, 6), st.just(0), st.none() | positions,
                 st.just(b"")), positions)  # fmt: skip
def test_nothing_is_known_and_next_at_once(publication: Publication, at: Position) -> None:
    assert not (publication.follows(at) and publication.is_known_at(at))

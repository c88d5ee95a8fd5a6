import pytest

from common.model.publication import Position
from ws_gateway.channels.pending import JoinedWrite, Pending
from ws_gateway.protocol.frames import text_frame

BEFORE = Position("e", 0)


def pending(*texts: bytes) -> list[Pending]:
    return [Pending(text, Position("e", n), 1) for n, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    "texts", [(b"one",), (b"", b"x" * 125, b"y" * 126), (b"x" * 65_535, b"y" * 65_536, b"z")]
)
def test_the_frames_of_a_write_are_those_of_its_texts_in_order(texts: tuple[bytes, ...]) -> None:
    joined = JoinedWrite(BEFORE, pending(*texts))
    assert joined.frames == b"".join(text_frame(text) for text in texts)


def test_frames_are_built_once_for_all_members() -> None:
    joined = JoinedWrite(BEFORE, pending(b"one", b"two"))
    assert joined.frames is joined.frames


def test_a_write_without_texts_has_no_frames() -> None:
    assert JoinedWrite(BEFORE, []).frames == b""


def test_only_a_reset_was_never_accepted() -> None:
    assert Pending(b"", BEFORE, 0).is_reset
    assert not Pending(b"", BEFORE, 1).is_reset

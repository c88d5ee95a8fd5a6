"""The size of a message, which decides what may go together."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_bridge.messages.message import Message
from tests.support.examples import examples

texts = st.one_of(st.none(), st.binary(max_size=20))
headers = st.lists(st.tuples(st.text("abc", max_size=5), st.binary(max_size=9)), max_size=3)


@examples(50)
@given(texts, texts, headers)
def test_everything_that_is_sent_counts(
    key: bytes | None, value: bytes | None, those: list[tuple[str, bytes]]
) -> None:
    sent = [key or b"", value or b"", *(name.encode() for name, _ in those), *(v for _, v in those)]
    message = Message(key, value, those, at_ms=1, epoch=b"e", offset=b"7")
    assert message.size == len(b"".join(sent))


def test_a_tombstone_without_a_key_has_no_size() -> None:
    assert Message(None, None, []).size == 0

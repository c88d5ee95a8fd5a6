import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.event import Event, EventKind
from kafka_bridge.messages.cloud_events import (
    DATA_MAX_BYTES,
    accepted_ms,
    from_message,
    place_of,
    to_message,
)
from tests.unit.kafka_bridge.frames import publication

TEXT = st.text(max_size=30).filter(lambda text: text.isprintable())


@given(
    TEXT,
    TEXT.filter(bool),
    TEXT,
    st.integers(1, 2**53),
    st.sampled_from([b"", b'{"email":"a@b.c"}']),
)
def test_a_publication_comes_back_as_it_was(
    room: str, an_id: str, message: str, offset: int, extra: bytes
) -> None:
    event = publication(room, an_id, message, offset)._replace(extra=extra)
    sent = to_message(event)
    assert sent is not None
    body = json.loads(sent.value or b"")
    assert body["id"] == f"default/room:{room}/abcd/{offset}"
    assert body["data"] == json.loads(event.text)
    assert sent.headers[1:] == [("id", an_id.encode()), ("offset", str(offset).encode())]
    back = from_message(sent.value or b"")
    assert back.event == event
    assert back.id == body["id"]
    assert place_of(event) == ("abcd", offset)
    assert accepted_ms(event) == 1_795_250_081_598


def test_data_is_passed_through_byte_for_byte() -> None:
    event = publication("1", "i", "m", 1)
    text = event.text.replace(b'"data":null', b'"data":{"a": 1.0,  "a":12345678901234567890}')
    sent = to_message(event._replace(text=text))
    assert sent is not None
    assert text in (sent.value or b"")
    assert from_message(sent.value or b"").event.text == text


@pytest.mark.parametrize("kind", [EventKind.EXPIRED, EventKind.DELIVERED, EventKind.READ])
def test_other_events_come_back_as_they_were(kind: EventKind) -> None:
    event = Event("1795250081600-3", kind, "default/user:ü", "w", b'{"id":"n","at":"x"}', b"")
    sent = to_message(event)
    assert sent is not None
    body = json.loads(sent.value or b"")
    assert body["id"] == "default/1795250081600-3"
    assert body["time"] == "2026-11-21T08:34:41.600Z"
    assert body["datacontenttype"] == "application/json"
    assert from_message(sent.value or b"").event == event


@given(st.binary(max_size=50), TEXT)
def test_dead_letters_may_be_any_bytes(text: bytes, reason: str) -> None:
    event = Event("1795250081600-3", "dead", "", "w", text, reason.encode())
    sent = to_message(event)
    assert sent is not None
    assert from_message(sent.value or b"").event == event
    body = json.loads(sent.value or b"")
    assert body["datacontenttype"] == "application/octet-stream"
    assert "subject" not in body


def test_a_huge_dead_letter_is_cut_and_says_so() -> None:
    sent = to_message(Event("1-0", "dead", "", "w", b"x" * (DATA_MAX_BYTES + 1), b"why"))
    assert sent is not None
    assert json.loads(sent.value or b"")["truncated"] is True
    assert len(from_message(sent.value or b"").event.text) == DATA_MAX_BYTES


@pytest.mark.parametrize("kind", ["mirrored", "", "something else"])
def test_what_is_not_mirrored(kind: str) -> None:
    assert to_message(Event("1-0", kind, "default/room:1", "w", b"{}", b"")) is None


@pytest.mark.parametrize("text", [b"", b"{}", b'{"id":"1","offset":1}'])
def test_a_publication_without_a_frame_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        to_message(Event("1-0", "published", "default/room:1", "w", text, b""))


@pytest.mark.parametrize(
    "value",
    [b"", b"{}", b"\xff", b"[" * 10_000, b'{"id":"1","type":"t","client":"c","streamid":"1-0"}'],
)
def test_what_is_no_event_of_ours_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        from_message(value)


@pytest.mark.parametrize(
    "changed",
    [
        {"streamid": ""},
        {"streamid": "x"},
        {"streamid": "0-0"},
        {"streamid": "-1-1"},
        {"streamid": "99999999999999999999999-1"},
        {"streamid": "1795250081600"},
        {"streamid": "\u0661-1"},
        {"data": {}},
        {"data": None},
        {"data": {"offset": "x"}},
        {"data": {"epoch": "e", "offset": 1}},
        {"data": {"createdAt": "x", "epoch": "e", "offset": 1}},
        {"type": "roomcast.events.dropped", "data": {"reader": 1}},
        {"type": "roomcast.events.dropped", "data": []},
        {"type": "roomcast.event.left-out", "data": {}},
        {"type": "roomcast.notification.dead", "data_base64": "!"},
    ],
)
def test_what_a_stranger_wrote_into_the_topic_ends_no_restore(changed: dict[str, object]) -> None:
    sent = to_message(publication("1", "n", "m", 1))
    assert sent is not None
    body = json.loads(sent.value or b"") | changed
    with pytest.raises(ValueError, match=r"."):
        from_message(json.dumps(body, separators=(",", ":")).encode())

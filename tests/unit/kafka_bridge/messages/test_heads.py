"""What goes in the place of what a topic does not take."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.event import Event, EventKind
from kafka_bridge.ingest import requests
from kafka_bridge.ingest.requests import Request, letter
from kafka_bridge.messages import cloud_events
from kafka_bridge.messages.cloud_events import LEFT_OUT, LeftOutError, from_message, to_message
from kafka_bridge.messages.message import Message
from tests.unit.kafka_bridge.frames import publication

SMALL = 16 * 1024


def head_of(event: Event) -> tuple[Message, dict[str, Any]]:
    message = to_message(event)
    assert message is not None
    head = cloud_events.head_of(message, "too large")
    assert head.size < SMALL
    assert head.at_ms == message.at_ms
    return head, json.loads(head.value or b"")


def test_the_head_of_a_publication_says_which_one_it_is() -> None:
    event = publication("1", "an-id", "x" * 50_000, 7)
    whole = to_message(event)
    head, body = head_of(event)
    assert whole is not None
    assert (head.key, head.headers) == (whole.key, whole.headers)
    was = json.loads(whole.value or b"")
    for name in ("id", "time", "subject", "client", "streamid", "writer"):
        assert body[name] == was[name]
    assert body["type"] == LEFT_OUT
    data = body["data"]
    assert data["type"] == "roomcast.notification.published"
    assert data["bytes"] == len(whole.value or b"")
    assert data["leftOut"] == ["message"]
    assert data["event"]["id"] == "an-id"
    assert data["event"]["offset"] == 7
    with pytest.raises(LeftOutError):
        from_message(head.value or b"")


@given(
    kind=st.sampled_from([kind for kind in EventKind if kind is not EventKind.MIRRORED]),
    fields=st.dictionaries(
        st.text(max_size=400), st.text(max_size=400) | st.integers() | st.none(), max_size=60
    ),
    channel=st.text(max_size=3_000),
    extra=st.binary(max_size=4_000),
)
def test_a_head_is_short_whatever_the_event(
    kind: EventKind, fields: dict[str, Any], channel: str, extra: bytes
) -> None:
    if kind is EventKind.PUBLISHED:
        return
    text = json.dumps({**fields, "id": "n", "large": "x" * 50_000}).encode()
    reason = extra if kind is EventKind.DEAD else b""
    event = Event("1795250081600-0", kind, f"default/{channel}", "w", text, reason)
    _, body = head_of(event)
    assert body["id"]
    assert "large" not in body["data"]["event"]


@pytest.mark.parametrize(
    "text", [b"\xff no json \x00" * 9_000, b"[" * 90_000, b"", b'{"a":1', b"[1]"]
)
def test_a_dead_letter_may_be_any_bytes(text: bytes) -> None:
    _, body = head_of(Event("1795250081600-0", EventKind.DEAD, "", "w", text, b"why"))
    assert body["data"]["event"] == {}
    assert body["data"]["cause"] == "why"


def test_the_head_of_a_dead_letter_says_where_the_whole_is() -> None:
    headers: list[tuple[str, bytes | None]] = [
        ("trace", b"t"),
        ("empty", None),
        ("source", b"forged"),
        ("large", b"x" * 9_000),
        *((f"h{n}", b"v") for n in range(5_000)),
    ]
    request = Request("requests", 3, 7, b"k" * 9_000, b"v" * 100_000, headers)
    dead = letter(request, "a reason of \ud800 any text " + "x" * 9_000)
    head = requests.head_of(dead, "too large")
    assert head.size < SMALL
    assert not head.value
    found = dict(head.headers)
    assert [name for name, _ in head.headers].count("source") == 1
    assert found["source"] == b"requests:3:7"
    assert found["trace"] == b"t"
    assert found["empty"] == b""
    assert found["left-out"] == b"100000 bytes: too large"
    assert found["reason"].startswith(b"a reason of")
    assert head.key == b"requests:3:7"


def test_base64_is_what_a_dead_letter_comes_as() -> None:
    text = json.dumps({"id": "n", "message": "x" * 9_000}).encode()
    message = to_message(Event("1795250081600-0", EventKind.DEAD, "", "w", text, b"why"))
    assert message is not None
    assert base64.b64encode(text) in (message.value or b"")
    _, body = head_of(Event("1795250081600-0", EventKind.DEAD, "", "w", text, b"why"))
    assert body["data"]["event"] == {"id": "n"}
    assert body["data"]["leftOut"] == ["message"]

"""Texts of events: as they stand on the wire, of this release and of earlier ones."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from common.events import payloads
from common.events.event import EventKind
from common.events.payloads import (
    Audit,
    Changed,
    Dropped,
    Expired,
    Mirrored,
    PublishedExtra,
    PublishedFrame,
    Seen,
    UserReceipt,
    Written,
    encode,
    moment,
)

AT = "2026-11-21T05:40:03.832Z"
HI, NULL = msgspec.Raw(b'"hi"'), msgspec.Raw(b"null")


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (
            PublishedFrame(
                "room", "n1", "2", "7", msgspec.Raw(b'"hi"'), NULL, "high", AT, "room:7"
            ),
            '{"type":"room","id":"n1","userId":"2","target":"7","message":"hi","data":null,'
            f'"priority":"high","createdAt":"{AT}","channel":"room:7","epoch":""}}',
        ),
        (PublishedExtra("a@b.c"), '{"email":"a@b.c"}'),
        (PublishedExtra(), "{}"),
        (
            Expired(id="n1", user_id="2", priority="low", created_at=AT),
            f'{{"id":"n1","userId":"2","priority":"low","createdAt":"{AT}"}}',
        ),
        (UserReceipt("n1", "ann", AT), f'{{"id":"n1","userId":"ann","at":"{AT}"}}'),
        (
            Written("g1", "e", [(1, 2, 3)], AT),
            f'{{"gateway":"g1","epoch":"e","runs":[[1,2,3]],"at":"{AT}"}}',
        ),
        (
            Mirrored(
                topic="t", at=AT, first_ms=1, last_ms=2, entries=msgspec.Raw(b'[["c","e",1,0,9]]')
            ),
            f'{{"topic":"t","at":"{AT}","firstMs":1,"lastMs":2,"entries":[["c","e",1,0,9]]}}',
        ),
        (Changed("ann", AT), f'{{"userId":"ann","at":"{AT}"}}'),
        (Changed("ann", AT, "7"), f'{{"userId":"ann","at":"{AT}","room":"7"}}'),
        (
            Changed("ann", AT, id="n1", created_at=AT),
            f'{{"userId":"ann","at":"{AT}","id":"n1","createdAt":"{AT}"}}',
        ),
        (
            Audit(7, AT, "made", "c1", "c0", "k0", {"name": "shop"}),
            f'{{"number":7,"at":"{AT}","action":"made","subject":"c1","client":"c0","key":"k0",'
            '"details":{"name":"shop"}}',
        ),
    ],
)
def test_a_text_is_what_it_always_was(payload: Any, text: str) -> None:
    assert encode(payload).decode() == text
    # With every field in its place, reading it gives the same again.
    if not isinstance(payload, PublishedFrame | Mirrored):
        assert msgspec.json.decode(text, type=type(payload)) == payload


def test_a_frame_is_read_without_its_message_and_data() -> None:
    frame = json.dumps(
        {
            "type": "user",
            "id": "n1",
            "userId": "2",
            "target": None,
            "message": "hi",
            "data": {"id": "another"},
            "priority": "high",
            "createdAt": AT,
            "channel": "user:2",
            "epoch": "e",
            "offset": 3,
        }
    )
    assert payloads.decode_identified(frame).id == "n1"
    found = payloads.decode_published(frame)
    assert (found.id, found.target, found.epoch, found.offset) == ("n1", None, "e", 3)


@pytest.mark.parametrize(
    ("text", "decode", "expected"),
    [
        (
            f'{{"id":"n1","createdAt":"{AT}"}}',
            payloads.decode_expired,
            Expired(id="n1", created_at=AT),
        ),
        ('{"users":[["ann",1]]}', payloads.decode_seen, Seen([("ann", 1)])),
        (
            '{"reader":"kafka","count":2,"after":"1-0","before":"3-0","sinceMs":4}',
            payloads.decode_dropped,
            Dropped("kafka", 2, "1-0", "3-0", 4),
        ),
        ('{"message":"pushed by hand"}', payloads.decode_dead, payloads.Dead("", "default")),
    ],
)
def test_what_others_wrote_or_an_earlier_release_did_is_read(
    text: str, decode: Any, expected: Any
) -> None:
    assert decode(text) == expected


def test_a_time_is_read_with_its_zone_only() -> None:
    assert moment(AT) == datetime(2026, 11, 21, 5, 40, 3, 832_000, tzinfo=UTC)
    with pytest.raises(ValueError, match="timezone"):
        moment("2026-11-21T05:40:03.832")


def test_each_kind_but_the_bridges_own_is_a_cloud_event_of_one_type() -> None:
    types = [kind.cloud_type for kind in EventKind if kind.cloud_type]
    assert len(set(types)) == len(types) == len(EventKind) - 1
    assert EventKind("mirrored").cloud_type == ""
    assert str(EventKind.PUBLISHED) == "published"

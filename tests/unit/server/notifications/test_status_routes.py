import json
from typing import Any

import msgspec
import pytest

from common.model.channels import Lane
from common.model.job import Job
from history.queries.notification_status import MirrorRecord, PublicationRecord, Writes
from server.notifications import status_routes
from server.notifications.status_routes import Story, StoryReceipts

AT_MS = 1_700_000_000_000
AT = "2023-11-14T22:13:20.000Z"
PUBLISHED = PublicationRecord(
    "user:1", "e1", 3, "published", "private", "2", "1", "high", "w1", AT_MS, AT_MS
)
EXPIRED = PUBLISHED._replace(status="expired", epoch="", offset=0, sender="")
JOB = Job(
    id="n1", type="private", user_id="2", priority=Lane.HIGH, targets=["1"], created_at=AT,
    message=msgspec.Raw(b'"hi"'), data=msgspec.Raw(b"null"), created_ms=1_700_000_000_000,
)  # fmt: skip


def shape(item: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(item))
    return found


def test_a_published_channel_has_its_sockets_and_places_in_kafka() -> None:
    writes = [Writes("g1", 2, AT_MS), Writes("g2", 3, AT_MS)]
    channel = status_routes._channel(PUBLISHED, writes, [MirrorRecord("t", 0, 7, AT_MS)])
    assert shape(channel) == {
        "channel": "user:1",
        "status": "published",
        "epoch": "e1",
        "offset": 3,
        "publishedAt": AT,
        "worker": "w1",
        "sockets": 5,
        "gateways": [
            {"gateway": "g1", "sockets": 2, "reportedAt": AT},
            {"gateway": "g2", "sockets": 3, "reportedAt": AT},
        ],
        "mirrors": [{"topic": "t", "partition": 0, "offset": 7, "mirroredAt": AT}],
    }


def test_an_expired_channel_says_so() -> None:
    found = shape(status_routes._channel(EXPIRED, [], []))
    assert (found["status"], found["expiredAt"], found["worker"]) == ("expired", AT, "w1")


@pytest.mark.parametrize(
    ("channels", "waiting", "status"),
    [
        ([EXPIRED, PUBLISHED], [JOB], "published"),
        ([EXPIRED], [JOB], "queued"),
        ([EXPIRED], [], "expired"),
        ([], [], "dead"),
    ],
)
def test_the_status_is_that_of_the_part_that_came_furthest(
    channels: list[PublicationRecord], waiting: list[Job], status: str
) -> None:
    made = [status_routes._channel(one, [], []) for one in channels]
    assert status_routes._status(made, [], waiting) == status


def test_who_sent_it_is_told_by_what_was_published_or_else_by_what_waits() -> None:
    assert status_routes._head([EXPIRED, PUBLISHED], []) == ("private", "2", "high", AT)
    assert status_routes._head([EXPIRED], []) == ("private", None, "high", AT)
    assert status_routes._head([], [JOB]) == ("private", "2", "high", AT)
    assert status_routes._head([], []) is None


def test_names_are_left_out_unless_they_are_asked_for() -> None:
    story = Story(
        id="n1", status="dead", type=None, user_id=None, priority=None, accepted_at=None,
        waiting=0, channels=[], dead=[], receipts=StoryReceipts(delivered=0, read=0),
    )  # fmt: skip
    assert {"names", "nextCursor"}.isdisjoint(shape(story))
    story.names, story.next_cursor = [], None
    assert {"names", "nextCursor"} <= set(shape(story))

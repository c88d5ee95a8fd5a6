import json
from typing import Any

import msgspec

from common.model.channels import Lane
from common.model.job import Job
from history.queries.inbox import InboxPlace
from history.queries.notifications import TARGETS_SHOWN, DeadNotification, Sent, SentFilters
from server.notifications import list_routes
from server.notifications.list_routes import SentItem

PLACES = [InboxPlace(1_700_000_000_000 - n, f"n{n}") for n in range(4)]


def sent(place: InboxPlace, status: str = "published", targets: tuple[str, ...] = ()) -> SentItem:
    return list_routes._sent_item(
        Sent(place, status, "room", "", list(targets), len(targets), "high", None)
    )


def shape(item: SentItem) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(msgspec.json.encode(item))
    return found


def test_what_is_unknown_is_null_and_why_it_is_dead_is_left_out() -> None:
    assert shape(sent(PLACES[0], targets=("r1",))) == {
        "id": "n0",
        "status": "published",
        "type": "room",
        "userId": None,
        "targets": ["r1"],
        "targetCount": 1,
        "priority": "high",
        "createdAt": "2023-11-14T22:13:20.000Z",
        "publishedAt": None,
    }


def test_one_that_is_in_two_sources_has_the_later_status_and_the_targets_of_both() -> None:
    many = tuple(f"r{n:02}" for n in range(TARGETS_SHOWN))
    waiting = list_routes._Source({PLACES[0]: sent(PLACES[0], "queued", many)}, None)
    written = list_routes._Source({PLACES[0]: sent(PLACES[0], "published", ("r00", "x"))}, None)
    (item,), following = list_routes._merge([waiting, written], 20)
    assert following is None
    assert item.status == "published"
    assert item.targets == [*many]
    assert item.target_count == TARGETS_SHOWN + 1


def test_a_page_ends_where_a_source_stopped_looking() -> None:
    everything = list_routes._Source({place: sent(place) for place in PLACES}, None)
    partial = list_routes._Source({}, PLACES[1])
    for sources, limit, shown, following in (
        ([everything], 20, 4, None),
        ([everything], 3, 3, PLACES[2]),
        ([everything, partial], 20, 2, PLACES[1]),
    ):
        items, place = list_routes._merge(sources, limit)
        assert [item.id for item in items] == [one.id for one in PLACES[:shown]]
        assert place == following


def test_a_dead_letter_says_why_also_if_nobody_can_read_it() -> None:
    job = Job(
        id="n1", type="private", user_id="2", priority=Lane.HIGH, targets=["1"],
        created_at="2023-11-14T22:13:20.000Z",
        message=msgspec.Raw(b'"hi"'), data=msgspec.Raw(b"null"), created_ms=1_700_000_000_000,
    )  # fmt: skip
    dead = DeadNotification("1-0", "n1", msgspec.json.encode(job), "malformed", 1_700_000_001_000)
    for letter, kind in ((dead, "private"), (dead._replace(text=b"{"), None)):
        item = list_routes._dead_item(letter, SentFilters())
        assert item is not None
        found = shape(item)
        assert (found["id"], found["status"], found["type"]) == ("n1", "dead", kind)
        assert (found["reason"], found["deadAt"]) == ("malformed", "2023-11-14T22:13:21.000Z")
    assert list_routes._dead_item(dead, SentFilters(kind="room")) is None
    assert list_routes._dead_item(dead._replace(text=b"{"), SentFilters(kind="room")) is None

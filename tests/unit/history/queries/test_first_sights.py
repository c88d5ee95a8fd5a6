"""Who was seen, as rows are made of events: each user once, the earliest, and anew when deleted."""

import json
from datetime import UTC, datetime, timedelta

from common.events.event import Event, EventKind
from history.queries.first_sights import KnownSights
from history.writing.rows import read_events
from kafka_bridge.messages.cloud_events import from_message, to_message

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def seen(number: int, *users: tuple[str, int]) -> Event:
    text = json.dumps({"users": users}).encode()
    return Event(f"{number}-0", EventKind.SEEN, "acme/broadcast", "g", text, b"")


def deleted(number: int, user: str) -> Event:
    text = json.dumps({"userId": user, "at": "2026-11-21T12:00:00.000Z"}).encode()
    return Event(f"{number}-0", EventKind.USER_DELETED, f"acme/user:{user}", "s", text, b"")


def rows(known: KnownSights, *events: Event) -> list[tuple[str, int]]:
    batch = read_events(events, known)
    assert not batch.malformed
    return [(row[1], row[4]) for row in batch.rows.get("sights", [])]


def test_only_what_is_new_or_earlier_makes_a_row() -> None:
    known = KnownSights()
    assert rows(known, seen(1, ("a", 100), ("b", 100)), seen(2, ("a", 100))) == [("a", 1), ("b", 1)]
    assert rows(known, seen(3, ("a", 200), ("b", 99))) == [("b", 3)]
    assert rows(known, seen(4, ("a", 300)), deleted(5, "a"), seen(6, ("a", 300))) == [("a", 6)]
    known.clear()
    assert rows(known, seen(7, ("a", 400))) == [("a", 7)]


def test_the_first_ones_are_forgotten() -> None:
    known = KnownSights(most=2)
    assert [known.is_news(name, AT) for name in ("a", "b", "a", "c", "b", "a")] == (
        [True, True, False, True, False, True]
    )
    assert known.is_news("a", AT - timedelta(seconds=1))


def test_a_sight_comes_back_from_kafka_as_it_was() -> None:
    event = seen(1_795_250_081_600, ("a/ü", 1_795_250_081_599))
    message = to_message(event)
    assert message is not None
    assert message.value is not None
    assert message.key == b"acme/broadcast"
    assert from_message(message.value).event == event
    assert rows(KnownSights(), event) == [("a/ü", 1_795_250_081_600)]


def test_what_says_no_users_is_malformed() -> None:
    texts = [b"{}", b'{"users":[["a"]]}', b'{"users":[["a",-1]]}', b'{"users":[["a",1e30]]}', b"["]
    events = [
        Event(f"{n}-0", "seen", "acme/broadcast", "g", text, b"") for n, text in enumerate(texts)
    ]
    events.append(Event("9-0", "seen", "", "g", b'{"users":[["a",1]]}', b""))
    batch = read_events(events)
    assert (len(batch.malformed), batch.rows) == (6, {})

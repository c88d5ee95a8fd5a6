import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events.event import Event, EventKind
from history.writing.rows import COLUMNS, TIME_COLUMN, read_events, time_of

AT = "2026-11-21T04:00:00.123Z"
TIME = datetime(2026, 11, 21, 4, 0, 0, 123_000, UTC)
FRAME: dict[str, Any] = {
    "type": "room", "id": "n1", "userId": "2", "target": "1", "message": {"a": [1, None]},
    "data": 2**80, "priority": "high", "createdAt": AT, "channel": "room:1", "epoch": "e",
    "offset": 7,
}  # fmt: skip


def event(kind: str, text: str | bytes, channel: str = "default/room:1", extra: str = "") -> Event:
    body = text if isinstance(text, bytes) else text.encode()
    return Event("1000-0", kind, channel, "w1", body, extra.encode())


def test_a_publication_keeps_the_exact_text() -> None:
    text = json.dumps(FRAME, indent=1)
    batch = read_events([event("published", text, extra='{"email": "a@b.cd"}')])
    ((row,),) = batch.rows.values()
    named = dict(zip(COLUMNS["publications"], row, strict=True))
    assert named == {
        "client": "default", "notification": "n1", "channel": "room:1", "epoch": "e", "offset": 7,
        "status": "published", "type": "room", "sender": "2", "target": "1", "priority": "high",
        "email": "a@b.cd", "frame": text, "worker": "w1", "created_at": TIME,
        "published_at": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "dated": False,
    }  # fmt: skip
    assert time_of("publications", row) == TIME


@pytest.mark.parametrize(
    ("channel", "type_", "target"),
    [
        ("default/user:7", "private", "7"),
        ("default/room:a:b", "room", "a:b"),
        ("default/broadcast", "broadcast", None),
    ],
)
def test_what_expired_is_told_by_its_channel(channel: str, type_: str, target: str | None) -> None:
    text = json.dumps({"id": "n1", "createdAt": AT})
    ((row,),) = read_events([event("expired", text, channel)]).rows.values()
    named = dict(zip(COLUMNS["publications"], row, strict=True))
    assert (named["type"], named["target"], named["status"]) == (type_, target, "expired")
    assert (named["sender"], named["priority"]) == ("", "")


def test_what_expired_says_who_sent_it() -> None:
    text = json.dumps({"id": "n1", "userId": "2", "priority": "low", "createdAt": AT})
    ((row,),) = read_events([event("expired", text, "default/user:7")]).rows.values()
    named = dict(zip(COLUMNS["publications"], row, strict=True))
    assert (named["sender"], named["priority"]) == ("2", "low")


def test_runs_that_are_told_twice_are_one_with_all_its_sockets() -> None:
    text = json.dumps(
        {"gateway": "g", "epoch": "e", "at": AT, "runs": [[1, 2, 3], [1, 2, 4], [1, 3, 1]]}
    )
    (rows,) = read_events([event("written", text)]).rows.values()
    assert [row[3:7] for row in rows] == [(1, 2, "g", 7), (1, 3, "g", 1)]


def test_where_publications_are_in_kafka_is_kept_as_it_was_told() -> None:
    entries = '[["default/room:1", "e", 1, 2, 3]]'
    told = f'{{"topic": "t", "at": "{AT}", "firstMs": 5, "lastMs": 7, "entries": {entries}}}'
    (rows,) = read_events([event("mirrored", told)]).rows.values()
    assert rows == [("1000-0", "t", 5, 7, entries, TIME)]


def test_without_its_times_it_may_be_of_any_time_before() -> None:
    told = json.dumps({"topic": "t", "at": AT, "entries": []})
    ((row,),) = read_events([event("mirrored", told)]).rows.values()
    assert row[2:4] == (0, 1_000)


@pytest.mark.parametrize(
    "bad",
    [
        event("published", "{"),
        event("published", b"\xff"),
        event("published", json.dumps({**FRAME, "createdAt": "2026-11-21T04:00:00"})),
        event("published", json.dumps({**FRAME, "offset": -1})),
        event("published", json.dumps({**FRAME, "offset": 2**63})),
        event("published", json.dumps(FRAME), "room:1"),
        event("published", json.dumps(FRAME), extra="[]"),
        event("published", "[" * 100_000),
        event("expired", json.dumps({"id": "n1", "createdAt": AT}), "default/what:1"),
        event("delivered", json.dumps({"id": 1, "userId": "1", "at": AT})),
        event("written", json.dumps({"gateway": "g", "epoch": "e", "at": AT, "runs": [[1, 2]]})),
        event("mirrored", json.dumps({"topic": "t", "at": AT, "entries": [["r", "e", 1, 2]]})),
        event("", ""),
        event("new kind", "{}"),
    ],
)
def test_a_malformed_event_is_counted_and_the_others_are_read(bad: Event) -> None:
    good = event("published", json.dumps(FRAME))
    batch = read_events([good, bad, good])
    assert batch.events == {"published": 2, "malformed": 1}
    assert len(batch.rows["publications"]) == 2
    ((event_id, reason),) = batch.malformed
    assert event_id == "1000-0"
    assert reason


@given(st.binary(), st.text())
def test_any_dead_letter_has_a_row_that_postgres_takes(text: bytes, reason: str) -> None:
    extra = reason.encode("utf-8", "replace").decode()
    ((row,),) = read_events([event("dead", text, "", extra)]).rows.values()
    named = dict(zip(COLUMNS["dead_letters"], row, strict=True))
    assert named["text"] == text
    assert "\0" not in named["reason"] + named["notification"]


@given(st.sampled_from([str(kind) for kind in EventKind]), st.binary(), st.text(), st.binary())
def test_no_event_whatever_raises(kind: str, text: bytes, channel: str, extra: bytes) -> None:
    batch = read_events([Event("1-1", kind, channel, "w", text, extra)])
    assert sum(batch.events.values()) == 1


def test_every_table_has_its_time() -> None:
    assert all(column in COLUMNS[table] for table, column in TIME_COLUMN.items())

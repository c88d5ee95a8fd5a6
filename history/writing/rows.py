"""From events to rows. Pure: no database, no Redis, no clock of its own.

Only what a column needs is read from a frame; its message and its data are skipped over.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from common.events.event import Event, EventKind
from common.events.payloads import (
    Dead,
    decode_changed,
    decode_dead,
    decode_expired,
    decode_extra,
    decode_mirrored,
    decode_published,
    decode_receipt,
    decode_seen,
    decode_written,
    moment,
)
from common.model.channels import DEFAULT_CLIENT, kind_and_target, scoped, user_channel
from history.queries.first_sights import KnownSights
from history.queries.id_time import is_dated
from history.queries.kafka_positions import decode_mirror_entries

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]
"""Rows by table."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "publications": (
        "client", "notification", "channel", "epoch", "offset", "status", "type", "sender",
        "target", "priority", "email", "frame", "worker", "created_at", "published_at", "dated",
    ),
    "receipts": ("client", "notification", "user_id", "kind", "at"),
    "writes": (
        "client", "channel", "epoch", "first_offset", "last_offset", "gateway", "sockets", "at",
    ),
    "mirror_batches": ("event", "topic", "first_ms", "last_ms", "entries", "at"),
    "dead_letters": ("client", "event", "notification", "text", "reason", "at"),
    "changes": (
        "client", "kind", "user_id", "room", "at", "event_ms", "event_number", "notification",
        "created_at",
    ),
    "sights": ("client", "user_id", "at", "registered", "event_ms", "event_number"),
}  # fmt: skip
"""Columns of each table, in the order of a row."""

TIME_COLUMN: Final = {
    table: "created_at" if table == "publications" else "at"
    for table in COLUMNS
    if table not in ("changes", "sights")
}
"""The column that each table is partitioned by. `changes` is not: it holds nothing, and what is put
there changes users and memberships, which are kept for ever, as sights are."""
_CREATED_AT: Final = COLUMNS["publications"].index("created_at")
_TIME_AT: Final = {table: COLUMNS[table].index(column) for table, column in TIME_COLUMN.items()}

_ID_MAX_LENGTH: Final = 128

_WITHOUT_ROWS: Final = frozenset({EventKind.AUDIT.value, EventKind.DROPPED.value})
"""Kinds that make no row: an audit entry comes from the database, a hole is news for the reader."""


@dataclass(slots=True)
class Batch:
    """Rows and changes from a batch of events.

    Attributes:
        rows: by table; a table without any is not there.
        events: how many events there were of each kind; malformed ones count as `malformed`.
        malformed: id in the stream and reason of what nothing can be made of.
    """

    rows: Rows = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    malformed: list[tuple[str, str]] = field(default_factory=list)


def read_events(events: Iterable[Event], known: KnownSights | None = None) -> Batch:
    """Make rows of events, in their order. The same event makes the same rows every time.

    Args:
        events: in the order of the stream.
        known: users whose sight makes no row any more; those of these events are put there.
    """
    known = KnownSights() if known is None else known
    batch = Batch()
    rows: Rows = {table: [] for table in COLUMNS}
    add_publication, add_sight = rows["publications"].append, rows["sights"].append
    published = 0
    counts = batch.events
    for event in events:
        kind = event.kind
        try:
            if kind == "published":
                # Nearly all are of this kind.
                row = _published(event)
                add_publication(row)
                published += 1
                if row[2].startswith("user:") and known.is_news(event.channel, row[_CREATED_AT]):
                    user = row[2].partition(":")[2]
                    add_sight((row[0], user, row[_CREATED_AT], False, *_entry(event.id)))
                continue
            if kind == "seen":
                rows["sights"] += _seen(event, known)
                counts[kind] = counts.get(kind, 0) + 1
                continue
            if kind == "user-deleted":
                known.forget(event.channel)
            if kind in _WITHOUT_ROWS:
                counts[kind] = counts.get(kind, 0) + 1
                continue
            reader = _READERS.get(kind)
            if reader is None:
                raise ValueError(f"unknown kind {kind[:40]!r}")  # noqa: TRY301
            table, found = reader(event)
        except (ValueError, RecursionError) as error:
            # msgspec's errors and those of UTF-8 are ValueErrors.
            batch.malformed.append((event.id, str(error)))
            kind = "malformed"
        else:
            rows[table] += found
        counts[kind] = counts.get(kind, 0) + 1
    if published:
        counts[EventKind.PUBLISHED.value] = published
    batch.rows = {table: found for table, found in rows.items() if found}
    return batch


def days_of(table: str, rows: list[Row]) -> set[date]:
    """The days (UTC) that the rows of a table are of.

    Raises:
        OverflowError: a time is not within the years 1 to 9999.
    """
    time_at = _TIME_AT[table]
    times = [row[time_at] for row in rows]
    first, last = (at.astimezone(UTC).date() for at in (min(times), max(times)))
    # As a rule it is one day, and it is cheaper to see that.
    return {first} if first == last else {at.astimezone(UTC).date() for at in times}


def time_of(table: str, row: Row) -> datetime:
    """The time that decides which partition a row is in."""
    at: datetime = row[_TIME_AT[table]]
    return at


@lru_cache(maxsize=1024)
def _scope(scoped: str) -> tuple[str, str]:
    client, slash, channel = scoped.partition("/")
    if not slash or not client or not channel:
        raise ValueError(f"no scoped channel: {scoped[:200]!r}")
    return client, channel


def _entry(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)


def _written_at(event: Event) -> datetime:
    return _from_ms(event.id.partition("-")[0])


@lru_cache(maxsize=64)
def _from_ms(unix_ms: str) -> datetime:
    return datetime.fromtimestamp(int(unix_ms) / 1000, UTC)


def _published(event: Event) -> Row:
    event_id, _, scoped, writer, text, extra = event
    client, channel = _scope(scoped)
    frame = decode_published(text)
    email = decode_extra(extra).email if extra else ""
    created_at = moment(frame.created_at)
    return (
        client, frame.id, channel, frame.epoch, frame.offset, "published", frame.type,
        frame.user_id, frame.target, frame.priority, email, text.decode(), writer,
        created_at, _from_ms(event_id.partition("-")[0]), is_dated(frame.id, created_at),
    )  # fmt: skip


def _expired(event: Event) -> tuple[str, list[Row]]:
    client, channel = _scope(event.channel)
    job = decode_expired(event.text)
    created_at = moment(job.created_at)
    kind, target = kind_and_target(channel)
    row = (
        client, job.id, channel, "", 0, "expired", str(kind), job.user_id, target, job.priority, "",
        "", event.writer, created_at, _written_at(event), is_dated(job.id, created_at),
    )  # fmt: skip
    return "publications", [row]


def _dead(event: Event) -> tuple[str, list[Row]]:
    try:
        named = decode_dead(event.text)
    except (ValueError, RecursionError):
        named = Dead()
    notification, client = named.id, named.client
    if "\0" in client or len(client) > _ID_MAX_LENGTH:
        client = DEFAULT_CLIENT
    if "\0" in notification or len(notification) > _ID_MAX_LENGTH:
        # Whatever somebody put there, it is not an id.
        notification = ""
    reason = event.extra.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    row = (client, event.id, notification, event.text, reason, _written_at(event))
    return "dead_letters", [row]


def _receipt(event: Event) -> tuple[str, list[Row]]:
    client, _ = _scope(event.channel)
    receipt = decode_receipt(event.text)
    return "receipts", [(client, receipt.id, receipt.user_id, event.kind, moment(receipt.at))]


def _written(event: Event) -> tuple[str, list[Row]]:
    client, channel = _scope(event.channel)
    report = decode_written(event.text)
    # A report has the same run twice when two connections caught up from the same position.
    at = moment(report.at)
    runs: dict[tuple[int, int], int] = {}
    for first, last, sockets in report.runs:
        runs[first, last] = runs.get((first, last), 0) + sockets
    return "writes", [
        (client, channel, report.epoch, first, last, report.gateway, sockets, at)
        for (first, last), sockets in runs.items()
    ]


def _mirrored(event: Event) -> tuple[str, list[Row]]:
    report = decode_mirrored(event.text)
    # The list is kept as it stands, but somebody is to be able to read it.
    decode_mirror_entries(report.entries)
    last_ms = event.at_ms if report.last_ms is None else report.last_ms
    text = bytes(report.entries).decode()
    at = moment(report.at)
    return "mirror_batches", [(event.id, report.topic, report.first_ms, last_ms, text, at)]


def _changed(event: Event) -> tuple[str, list[Row]]:
    client, _ = _scope(event.channel)
    change = decode_changed(event.text)
    row = (
        client, event.kind, change.user_id, change.room, moment(change.at), *_entry(event.id),
        change.id, None if change.created_at is None else moment(change.created_at),
    )  # fmt: skip
    return "changes", [row]


def _seen(event: Event, known: KnownSights) -> list[Row]:
    client, _ = _scope(event.channel)
    entry = _entry(event.id)
    found = [
        (user, datetime.fromtimestamp(at_ms / 1000, UTC))
        for user, at_ms in decode_seen(event.text).users
    ]
    return [
        (client, user, at, True, *entry)
        for user, at in found
        if known.is_news(scoped(user_channel(user), client), at)
    ]


_READERS: Final[dict[str, Callable[[Event], tuple[str, list[Row]]]]] = {
    EventKind.EXPIRED: _expired,
    EventKind.DEAD: _dead,
    EventKind.DELIVERED: _receipt,
    EventKind.READ: _receipt,
    EventKind.WRITTEN: _written,
    EventKind.MIRRORED: _mirrored,
    EventKind.USER: _changed,
    EventKind.MEMBER_JOINED: _changed,
    EventKind.MEMBER_LEFT: _changed,
    EventKind.READ_ALL: _changed,
    EventKind.ARCHIVED: _changed,
    EventKind.UNARCHIVED: _changed,
    EventKind.UNREAD: _changed,
    EventKind.USER_DELETED: _changed,
}

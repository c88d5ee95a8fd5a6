"""Sent notifications: published, expired or dead, newest first."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from common.model.timestamps import from_unix_ms, unix_ms
from history.queries.inbox import InboxPlace

TARGETS_SHOWN: Final = 10
DEAD_SCANNED_MAX: Final = 500
"""Dead letters that are read for one page."""
_LAST: Final = from_unix_ms(253_402_300_799_000)
_FIRST: Final = from_unix_ms(-62_000_000_000_000)


class SentFilters(NamedTuple):
    """Filters on sent notifications; None: any."""

    kind: str | None = None
    target: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    sender: str | None = None


class Sent(NamedTuple):
    """One notification that was sent; `published_ms` is when it was first published (Unix ms)."""

    place: InboxPlace
    status: str
    kind: str
    sender: str
    targets: list[str]
    target_count: int
    priority: str
    published_ms: int | None


class DeadNotification(NamedTuple):
    """One dead letter: its id in the event stream, its notification's ('': none), text, reason."""

    event: str
    notification: str
    text: bytes
    reason: str
    at_ms: int


async def sent(
    connection: Any, client: str, filters: SentFilters, before: InboxPlace | None, limit: int
) -> list[Sent]:
    """Newest notifications that were published or expired, `limit` at most."""
    found = await connection.fetch(
        """
        SELECT DISTINCT ON (created_at, notification) created_at, notification
        FROM publications
        WHERE client = $1 AND created_at <= $2 AND (created_at, notification) < ($2, $3)
            AND created_at >= $4 AND created_at <= $5
            AND ($6::text IS NULL OR type = $6) AND ($7::text IS NULL OR target = $7)
            AND ($8::text IS NULL OR status = $8) AND ($9::text IS NULL OR sender = $9)
        ORDER BY created_at DESC, notification DESC LIMIT $10
        """,
        client,
        from_unix_ms(before.created_ms) if before else _LAST,
        before.id if before else "",
        filters.since or _FIRST,
        filters.until or _LAST,
        filters.kind,
        filters.target,
        filters.status,
        filters.sender,
        limit,
    )
    rows = await connection.fetch(
        """
        SELECT created_at, notification, max(type) AS type, max(sender) AS sender,
            max(priority) AS priority, count(DISTINCT target) AS targets,
            (array_agg(DISTINCT target) FILTER (WHERE target IS NOT NULL))[1:$4] AS shown,
            min(published_at) FILTER (WHERE status = 'published') AS published_at
        FROM publications
        WHERE client = $1 AND created_at = ANY($2::timestamptz[]) AND notification = ANY($3::text[])
        GROUP BY created_at, notification ORDER BY created_at DESC, notification DESC
        """,
        client,
        [row["created_at"] for row in found],
        [row["notification"] for row in found],
        TARGETS_SHOWN,
    )
    return [
        Sent(
            InboxPlace(unix_ms(row["created_at"]), row["notification"]),
            "expired" if row["published_at"] is None else "published",
            row["type"],
            row["sender"],
            row["shown"] or [],
            row["targets"],
            row["priority"],
            None if row["published_at"] is None else unix_ms(row["published_at"]),
        )
        for row in rows
    ]


async def dead_letters(
    connection: Any, client: str, filters: SentFilters, before: InboxPlace | None, limit: int
) -> list[DeadNotification]:
    """Newest dead letters within the filters' time, `limit` at most. Other filters are not used."""
    rows = await connection.fetch(
        """
        SELECT event, notification, text, reason, at FROM dead_letters
        WHERE client = $1 AND at <= $2 AND (at, event) < ($2, $3) AND at >= $4 AND at <= $5
        ORDER BY at DESC, event DESC LIMIT $6
        """,
        client,
        from_unix_ms(before.created_ms) if before else _LAST,
        before.id if before else "",
        filters.since or _FIRST,
        filters.until or _LAST,
        limit,
    )
    return [_letter(row) for row in rows]


async def dead_letters_of(
    connection: Any, client: str, notification: str
) -> list[DeadNotification]:
    """Dead letters of one notification, oldest first, `DEAD_SCANNED_MAX` at most."""
    rows = await connection.fetch(
        """
        SELECT event, notification, text, reason, at FROM dead_letters
        WHERE client = $1 AND notification = $2 ORDER BY at, event LIMIT $3
        """,
        client,
        notification,
        DEAD_SCANNED_MAX,
    )
    return [_letter(row) for row in rows]


def _letter(row: Any) -> DeadNotification:
    return DeadNotification(
        row["event"], row["notification"], bytes(row["text"]), row["reason"], unix_ms(row["at"])
    )

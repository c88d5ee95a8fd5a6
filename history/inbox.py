"""What a user can read: private ones, those of rooms they are a member of, broadcasts.

A member's inbox has what a room was sent since they joined; a notification with several targets is
there once. It is read when a receipt of the user says so, or when it was published before their
`read_through`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from common.names import BROADCAST_CHANNEL, room_channel, user_channel
from common.publication import Position
from history.database import from_unix_ms, unix_ms
from history.dated import FOUND, span_of

UNREAD_IDS_MAX: Final = 5_000
"""Unread ids that are read one by one; of more than these only the number is known."""

NEWEST_MAX: Final = 1_000
"""A channel's last publication is looked for among so many; as a rule it is the first of them."""


class Place(NamedTuple):
    """Where in a list, newest first: creation (Unix ms) and id of a notification."""

    created_ms: int
    id: str


class Item(NamedTuple):
    """One notification of an inbox; `read_ms` is the Unix time of its reading, None: unread."""

    id: str
    created_ms: int
    read_ms: int | None
    frame: bytes


class Filters(NamedTuple):
    """Which part of an inbox is asked for."""

    unread: bool = False
    room: str | None = None
    since: datetime | None = None


class Reader(NamedTuple):
    """Whose inbox it is, and what is known of it beyond what the database says.

    `reads` maps ids of notifications whose reading the history writer may not have written yet to
    when they were read (Unix ms).
    """

    client: str
    user: str
    reads: dict[str, int]


_MINE: Final = """
    WITH mine AS (
        SELECT $3::text AS channel, '-infinity'::timestamptz AS since
        UNION ALL SELECT $4::text, '-infinity'::timestamptz
        UNION ALL SELECT 'room:' || room, joined_at FROM room_members
            WHERE client = $1 AND user_id = $2 AND joined_at IS NOT NULL
    ), through AS (
        SELECT coalesce(
            (SELECT read_through FROM users WHERE client = $1 AND id = $2), '-infinity'
        ) AS at
    )
"""
_UNREAD: Final = """
    p.published_at > through.at AND p.notification <> ALL($5::text[])
    AND NOT EXISTS (
        SELECT FROM receipts r WHERE r.client = $1 AND r.user_id = $2
            AND r.kind = 'read' AND r.notification = p.notification
    )
"""
# Per channel no more than a page is read, from the index by channel and time. A channel has a
# notification twice if Redis lost that it was published, and it was published again.
_PAGE: Final = """
    SELECT DISTINCT ON (found.created_at, found.notification)
        found.notification, found.created_at, found.frame,
        coalesce(
            (SELECT min(r.at) FROM receipts r WHERE r.client = $1 AND r.user_id = $2
                AND r.kind = 'read' AND r.notification = found.notification),
            CASE WHEN found.published_at <= through.at THEN through.at END
        ) AS read_at
    FROM through, mine CROSS JOIN LATERAL (
        SELECT DISTINCT ON (p.created_at, p.notification)
            p.notification, p.created_at, p.published_at, p.frame, p.channel
        FROM publications p
        WHERE p.client = $1 AND p.channel = mine.channel AND p.status = 'published'
            AND p.created_at >= mine.since AND p.created_at >= $6
            AND p.created_at <= $7 AND (p.created_at, p.notification) < ($7, $8)
            AND ($5::text[] IS NULL OR {unread})
        ORDER BY p.created_at DESC, p.notification DESC LIMIT $9
    ) found
    WHERE $10::text IS NULL OR mine.channel = $10
    ORDER BY found.created_at DESC, found.notification DESC, found.channel LIMIT $9
"""
_PAGE_ALL: Final = _MINE + _PAGE.format(unread="true")
_PAGE_UNREAD: Final = _MINE + _PAGE.format(unread=_UNREAD)
_UNREAD_IDS_TEMPLATE: Final = """
    SELECT p.notification, max(p.created_at) AS created_at
    FROM through, mine JOIN publications p ON p.client = $1 AND p.channel = mine.channel
        AND p.status = 'published' AND p.created_at >= mine.since
    WHERE {unread}
    GROUP BY p.notification ORDER BY 2 DESC, 1 DESC LIMIT $6
"""
_UNREAD_IDS: Final = _MINE + _UNREAD_IDS_TEMPLATE.format(unread=_UNREAD)
_UNREAD_COUNT_TEMPLATE: Final = """
    SELECT count(DISTINCT p.notification)
    FROM through, mine JOIN publications p ON p.client = $1 AND p.channel = mine.channel
        AND p.status = 'published' AND p.created_at >= mine.since
    WHERE {unread}
"""
_UNREAD_COUNT: Final = _MINE + _UNREAD_COUNT_TEMPLATE.format(unread=_UNREAD)
_FIND_TEMPLATE: Final = """
    SELECT bool_and(NOT ({unread})) AS read
    FROM through, mine JOIN {found} p ON p.channel = mine.channel
        AND p.status = 'published' AND p.created_at >= mine.since
    HAVING count(*) > 0
"""
_FIND: Final = _MINE + _FIND_TEMPLATE.format(
    unread=_UNREAD, found=FOUND.format(id="$6", first="$7", last="$8")
)
_READ_AMONG_TEMPLATE: Final = """
    SELECT notification FROM receipts WHERE client = $1 AND user_id = $2
        AND kind = 'read' AND notification = ANY($3::text[])
    UNION
    SELECT asked.id FROM users u, unnest($3::text[], $4::timestamptz[], $5::timestamptz[])
        AS asked(id, first, last)
    WHERE u.client = $1 AND u.id = $2
        AND EXISTS (SELECT FROM {found} p WHERE p.published_at <= u.read_through)
"""
_READ_AMONG: Final = _READ_AMONG_TEMPLATE.format(
    found=FOUND.format(id="asked.id", first="asked.first", last="asked.last")
)
_LAST: Final = from_unix_ms(253_402_300_799_000)
_FIRST: Final = from_unix_ms(-62_000_000_000_000)


def _arguments(reader: Reader) -> list[Any]:
    return [
        reader.client,
        reader.user,
        user_channel(reader.user),
        BROADCAST_CHANNEL,
        list(reader.reads),
    ]


async def rooms_of(connection: Any, client: str, user: str) -> dict[str, int]:
    """Rooms that a user is a member of, and when they joined (Unix ms)."""
    rows = await connection.fetch(
        """
        SELECT room, joined_at FROM room_members
        WHERE client = $1 AND user_id = $2 AND joined_at IS NOT NULL
        """,
        client,
        user,
    )
    return {row["room"]: unix_ms(row["joined_at"]) for row in rows}


async def page(
    connection: Any,
    reader: Reader,
    *,
    filters: Filters,
    before: Place | None,
    limit: int,
) -> list[Item]:
    """Newest notifications of an inbox.

    Args:
        connection: of asyncpg.
        reader: whose inbox.
        filters: which of it.
        before: only what is older than this; None: from the newest on.
        limit: how many at most.
    """
    rows = await connection.fetch(
        _PAGE_UNREAD if filters.unread else _PAGE_ALL,
        *_arguments(reader),
        filters.since or _FIRST,
        from_unix_ms(before.created_ms) if before else _LAST,
        before.id if before else "",
        limit,
        None if filters.room is None else room_channel(filters.room),
    )
    return [
        Item(
            row["notification"],
            unix_ms(row["created_at"]),
            reader.reads.get(row["notification"])
            if row["read_at"] is None
            else unix_ms(row["read_at"]),
            row["frame"].encode(),
        )
        for row in rows
    ]


async def unread_ids(connection: Any, reader: Reader, limit: int) -> list[Place]:
    """Newest unread notifications of an inbox, `limit` at most."""
    rows = await connection.fetch(_UNREAD_IDS, *_arguments(reader), limit)
    return [Place(unix_ms(row["created_at"]), row["notification"]) for row in rows]


async def unread_count(connection: Any, reader: Reader) -> int:
    """Number of unread notifications of an inbox."""
    return int(await connection.fetchval(_UNREAD_COUNT, *_arguments(reader)))


async def is_read(connection: Any, reader: Reader, notification: str) -> bool | None:
    """Whether a notification is read, or None if it is not in the inbox."""
    found: bool | None = await connection.fetchval(
        _FIND, *_arguments(reader), notification, *span_of(notification)
    )
    return found


async def read_among(connection: Any, reader: Reader, ids: Sequence[str]) -> set[str]:
    """Which of these notifications are read, wherever they are."""
    spans = [span_of(notification) for notification in ids]
    rows = await connection.fetch(
        _READ_AMONG,
        reader.client,
        reader.user,
        list(ids),
        [first for first, _ in spans],
        [last for _, last in spans],
    )
    return {row["notification"] for row in rows}


async def known_positions(
    connection: Any, client: str, positions: Sequence[tuple[str, Position]]
) -> list[bool]:
    """Whether each publication is in the database, named by channel (`room:1`) and position.

    The history writer keeps the order of the event stream: where one publication is, all before it
    are. One that is not among the channel's `NEWEST_MAX` last created ones counts as not there.
    """
    rows = await connection.fetch(
        """
        SELECT EXISTS (
            SELECT FROM (
                SELECT p.epoch, p."offset" FROM publications p
                WHERE p.client = $1 AND p.channel = asked.channel
                ORDER BY p.created_at DESC LIMIT $5
            ) newest WHERE newest.epoch = asked.epoch AND newest."offset" = asked.place
        ) AS known
        FROM unnest($2::text[], $3::text[], $4::bigint[])
            WITH ORDINALITY AS asked(channel, epoch, place, number)
        ORDER BY number
        """,
        client,
        [channel for channel, _ in positions],
        [position.epoch for _, position in positions],
        [position.offset for _, position in positions],
        NEWEST_MAX,
    )
    return [row["known"] for row in rows]


async def knows_reads(connection: Any, reader: Reader) -> bool:
    """Whether the newest of `reader.reads` are in the database, hence all before them."""
    if not reader.reads:
        return True
    newest = max(reader.reads.values())
    ids = [notification for notification, at in reader.reads.items() if at == newest]
    known = await connection.fetchval(
        """
        SELECT count(DISTINCT notification) FROM receipts
        WHERE client = $1 AND user_id = $2 AND kind = 'read'
            AND notification = ANY($3::text[]) AND at >= $4
        """,
        reader.client,
        reader.user,
        ids,
        from_unix_ms(newest),
    )
    return bool(known == len(ids))

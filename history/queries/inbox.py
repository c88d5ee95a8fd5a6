"""Inbox of a user: private notifications, those of rooms they are a member of, broadcasts.

It holds what a room was sent since the user joined; a notification with several targets is
there once. It is read if the user sent a receipt, or if it was published before their
`read_through`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from common.model.channels import room_channel
from common.model.publication import Position
from common.model.timestamps import from_unix_ms, unix_ms
from history.queries.id_time import FOUND, span_of

UNREAD_IDS_MAX: Final = 5_000
"""Unread ids that are read one by one; of more than these only the number is known."""

SCANNED_MAX: Final = 5_000
"""Publications that are looked at for one page, about."""

LATE_MAX: Final = 5_000
"""Publications that are looked at because they were published long after their creation."""

CHANNELS_AT_ONCE: Final = 200
"""Channels that are looked through together: those with the newest publications."""

KEPT_MAX: Final = 1_000
"""Unread notifications that are listed of what is settled; with more of them nothing is settled."""

KEPT_READ_MAX: Final = 5_000
"""As many of those, and of what was marked unread, are looked at, the newest first."""

READS_COUNTED_MAX: Final = 50_000
"""Receipts that are counted where unread notifications are not."""

SETTLE_INTERVAL: Final = timedelta(minutes=10)
"""An inbox in which too much is unread to be settled is tried again after this."""

NEWEST_MAX: Final = 1_000
"""A channel's last publication is looked for among so many; as a rule it is the first of them."""


class InboxPlace(NamedTuple):
    """Place in a list, newest first: creation (Unix ms) and id of a notification."""

    created_ms: int
    id: str


class Item(NamedTuple):
    """One notification of an inbox; `read_ms` is the Unix time of its reading, None: unread."""

    id: str
    created_ms: int
    read_ms: int | None
    frame: bytes
    archived: bool = False


class Filters(NamedTuple):
    """Filters on an inbox."""

    unread: bool = False
    room: str | None = None
    since: datetime | None = None
    archived: bool = False


class Reader(NamedTuple):
    """Owner of an inbox, and reads that the database may not have yet.

    `reads` maps ids of notifications whose reading the history writer may not have written yet to
    when they were read (Unix ms).
    """

    client: str
    user: str
    reads: dict[str, int]


_MINE: Final = """
    WITH mine AS (SELECT channel, since FROM inbox_channels($1, $2)), through AS (
        SELECT coalesce(
            (SELECT read_through FROM users WHERE client = $1 AND id = $2), '-infinity'
        ) AS at
    )
"""
# One probe per row, and no join with all that the user ever read. A receipt is not older than what
# it is for by more than clocks may be apart, so older partitions are left alone.
_READ_AT: Final = """(
    SELECT min(r.at) FROM receipts r WHERE r.client = $1 AND r.user_id = $2 AND r.kind = 'read'
        AND r.notification = {row}.notification
        AND r.at >= {row}.created_at - interval '5 minutes'
)"""
_ARCHIVED: Final = """(
    SELECT put.archived FROM inbox_archived put WHERE put.client = $1 AND put.user_id = $2
        AND put.created_at = {row}.created_at AND put.notification = {row}.notification
)"""
_SCOPE: Final = """
    SELECT mine.channel, greatest(mine.since, $3) AS since,
        greatest(coalesce(
            (SELECT read_through FROM users WHERE client = $1 AND id = $2), $3
        ), $3) AS through,
        greatest(coalesce(box.settled_created, $3), $3) AS settled_created,
        greatest(coalesce(box.settled_published, $3), $3) AS settled_published,
        greatest(coalesce(box.refused_at, $3), $3) AS refused_at
    FROM inbox_channels($1, $2) mine
        LEFT JOIN inboxes box ON box.client = $1 AND box.user_id = $2
"""
# The newest publication of each channel before a place.
_HEADS: Final = """
    SELECT mine.channel, mine.since, head.created_at
    FROM unnest($2::text[], $3::timestamptz[]) AS mine(channel, since) JOIN (
        SELECT channel, max(created_at) AS created_at FROM scan_channels($1, $2, $3, $4, $5, 1)
        GROUP BY channel
    ) head USING (channel)
    ORDER BY head.created_at DESC LIMIT $6
"""
# Reads $7 publications of each channel before a position, newest first, and keeps those that are
# wanted. The horizon is where the first channel stopped being read: older ones are left out.
_SCAN_TEMPLATE: Final = """
    WITH scanned AS MATERIALIZED (
        SELECT found.*, count(*) OVER (PARTITION BY found.channel) AS number
        FROM scan_channels($1, $3, $4, $5, $6, $7) found
    ), horizon AS (
        SELECT last.created_at, last.notification FROM (
            SELECT DISTINCT ON (channel) channel, created_at, notification, number FROM scanned
            ORDER BY channel, created_at, notification
        ) last
        WHERE last.number >= $7::bigint
        ORDER BY last.created_at DESC, last.notification DESC LIMIT 1
    ), wanted AS (
        SELECT DISTINCT s.created_at, s.notification FROM scanned s
        WHERE s.status = 'published' AND {wanted}
        ORDER BY s.created_at DESC, s.notification DESC LIMIT $8
    )
    SELECT wanted.created_at, wanted.notification, horizon.created_at AS horizon_at,
        horizon.notification AS horizon_id, (SELECT count(*) FROM scanned) AS scanned
    FROM (SELECT) one LEFT JOIN horizon ON true LEFT JOIN wanted
        ON horizon.created_at IS NULL
        OR (wanted.created_at, wanted.notification) >= (horizon.created_at, horizon.notification)
"""
_SCAN_ALL: Final = _SCAN_TEMPLATE.format(wanted=f"{_ARCHIVED.format(row='s')} IS NOT TRUE")
_SCAN_UNREAD: Final = _SCAN_TEMPLATE.format(
    wanted=f"""s.published_at > $9 AND s.notification <> ALL($10::text[])
        AND {_READ_AT.format(row="s")} IS NULL
        AND {_ARCHIVED.format(row="s")} IS NOT TRUE"""
)
# What was published since the inbox was settled, though it was created before.
_LATE: Final = f"""
    SELECT late.created_at, late.notification
    FROM scan_late($1, $3, $4, greatest($5::timestamptz, $6::timestamptz), $7, $8) late
    WHERE late.status = 'published' AND late.notification <> ALL($9::text[])
        AND {_READ_AT.format(row="late")} IS NULL
        AND {_ARCHIVED.format(row="late")} IS NOT TRUE
"""  # noqa: S608 - made of constants
# What was unread when the inbox was settled, or marked unread since.
_KEPT: Final = f"""
    SELECT kept.created_at, kept.notification
    FROM (
        SELECT * FROM inbox_unread WHERE client = $1 AND user_id = $2
        ORDER BY created_at DESC, notification DESC LIMIT $6
    ) kept
    WHERE EXISTS (
        SELECT FROM publications p
            JOIN unnest($3::text[], $4::timestamptz[]) AS mine(channel, since)
            ON p.channel = mine.channel AND p.created_at >= mine.since
        WHERE p.client = $1 AND p.created_at = kept.created_at
            AND p.notification = kept.notification AND p.status = 'published'
            AND greatest(p.published_at, kept.marked_at) > $5
        OFFSET 0
    ) AND NOT EXISTS (
        SELECT FROM receipts r WHERE r.client = $1 AND r.user_id = $2 AND r.kind = 'read'
            AND r.notification = kept.notification
            AND r.at > greatest(kept.marked_at, kept.created_at - interval '5 minutes')
        OFFSET 0
    ) AND NOT EXISTS (
        SELECT FROM unnest($7::text[], $8::timestamptz[]) AS lately(notification, at)
        WHERE lately.notification = kept.notification AND lately.at > kept.marked_at
    ) AND {_ARCHIVED.format(row="kept")} IS NOT TRUE
"""  # noqa: S608 - made of constants
_FRAMES: Final = """
    SELECT found.notification, found.created_at, found.frame,
        CASE WHEN kept.marked_at > '-infinity' THEN kept.marked_at END AS marked_at,
        coalesce(
            (
                SELECT min(r.at) FROM receipts r
                WHERE r.client = $1 AND r.user_id = $2 AND r.kind = 'read'
                    AND r.notification = found.notification
                    AND r.at > greatest(kept.marked_at, found.created_at - interval '5 minutes')
            ),
            CASE WHEN greatest(found.published_at, kept.marked_at) <= $5 THEN $5 END
        ) AS read_at
    FROM unnest($6::timestamptz[], $7::text[]) WITH ORDINALITY AS asked(created_at, id, number)
        CROSS JOIN LATERAL (
            SELECT p.notification, p.created_at, p.published_at, p.frame
            FROM publications p JOIN unnest($3::text[], $4::timestamptz[]) AS mine(channel, since)
                ON p.channel = mine.channel AND p.created_at >= mine.since
            WHERE p.client = $1 AND p.created_at = asked.created_at
                AND p.notification = asked.id AND p.status = 'published'
            ORDER BY p.channel LIMIT 1
        ) found LEFT JOIN inbox_unread kept ON kept.client = $1 AND kept.user_id = $2
            AND kept.created_at = found.created_at AND kept.notification = found.notification
    ORDER BY asked.number
"""
_STRETCH: Final = "SELECT count_stretch($1, $2, $3, $4, $5)"
_READS: Final = """
    SELECT count(*) FROM (
        SELECT FROM receipts WHERE client = $1 AND user_id = $2 AND kind = 'read' AND at >= $3
        LIMIT $4
    ) read
"""
_UNREAD: Final = f"""
    NOT CASE WHEN kept.notification IS NOT NULL THEN
        greatest(p.published_at, kept.marked_at) <= through.at
        OR EXISTS (
            SELECT FROM receipts r WHERE r.client = $1 AND r.user_id = $2 AND r.kind = 'read'
                AND r.notification = p.notification
                AND r.at > greatest(kept.marked_at, p.created_at - interval '5 minutes')
        ) OR EXISTS (
            SELECT FROM unnest($3::text[], $4::timestamptz[]) AS lately(notification, at)
            WHERE lately.notification = p.notification AND lately.at > kept.marked_at
        )
    ELSE
        p.published_at <= through.at OR p.notification = ANY($3::text[])
        OR {_READ_AT.format(row="p")} IS NOT NULL
    END
"""  # noqa: S608 - made of constants
_FIND_TEMPLATE: Final = """
    SELECT bool_and(NOT ({unread})) AS read, max(p.created_at) AS created_at
    FROM through, mine JOIN {found} p ON p.channel = mine.channel
        AND p.status = 'published' AND p.created_at >= mine.since
        LEFT JOIN inbox_unread kept ON kept.client = $1 AND kept.user_id = $2
            AND kept.created_at = p.created_at AND kept.notification = p.notification
    HAVING count(*) > 0
"""
_FIND: Final = _MINE + _FIND_TEMPLATE.format(
    unread=_UNREAD, found=FOUND.format(id="$5", first="$6", last="$7")
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
_LATE_AFTER: Final = timedelta(seconds=10)
"""As `publications_late` has it (`history/schema/versions/0006_large_inboxes.sql`)."""
_TICK: Final = timedelta(microseconds=1)
_MILLISECOND: Final = timedelta(milliseconds=1)


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


class _Scope(NamedTuple):
    """Channels of an inbox, each with its start, and the times that bound a search.

    All that was created by `settled` is read, but for what is kept, and what was published late,
    after `late_from`.
    """

    channels: list[str]
    since: list[datetime]
    through: datetime
    settled: datetime
    late_from: datetime
    refused_at: datetime


class Found(NamedTuple):
    """A page of an inbox, newest first, and the place of the next one; None: it is the last."""

    places: list[InboxPlace]
    following: InboxPlace | None


_Spot = tuple[datetime, str]


async def _scope(connection: Any, reader: Reader, filters: Filters) -> _Scope:
    rows = await connection.fetch(_SCOPE, reader.client, reader.user, _FIRST)
    wanted = None if filters.room is None else room_channel(filters.room)
    mine = [row for row in rows if wanted in (None, row["channel"])]
    since = filters.since or _FIRST
    one = rows[0]
    settled, late_from = one["settled_created"], one["settled_published"]
    if one["through"] > settled + _LATE_AFTER:
        settled, late_from = one["through"] - _LATE_AFTER, one["through"]
    return _Scope(
        [row["channel"] for row in mine],
        [max(row["since"], since) for row in mine],
        one["through"],
        settled,
        late_from,
        one["refused_at"],
    )


async def _nearest(
    connection: Any, reader: Reader, scope: _Scope, since: list[datetime], before: _Spot
) -> tuple[list[str], list[datetime], _Spot | None]:
    """The channels with the newest publications, and from where on there are others."""
    if len(scope.channels) <= CHANNELS_AT_ONCE:
        return scope.channels, since, None
    heads = await connection.fetch(
        _HEADS, reader.client, scope.channels, since, *before, CHANNELS_AT_ONCE + 1
    )
    near = heads[:CHANNELS_AT_ONCE]
    rest = heads[CHANNELS_AT_ONCE:]
    return (
        [row["channel"] for row in near],
        [row["since"] for row in near],
        (rest[0]["created_at"] + _MILLISECOND, "") if rest else None,
    )


async def _scan(
    connection: Any,
    reader: Reader,
    scope: _Scope,
    *,
    unread: bool,
    before: _Spot,
    limit: int,
    budget: int,
) -> tuple[list[_Spot], _Spot | None]:
    """Places of an inbox from its end on, and where it was not looked at any more."""
    since = scope.since
    if unread:
        settled = scope.settled + _TICK
        since = [max(each, settled) for each in since]
    found: list[_Spot] = []
    each = 2 * limit
    while True:
        channels, starts, rest = await _nearest(connection, reader, scope, since, before)
        most = max(1, budget // max(1, len(channels)))
        each = min(each, most)
        more = (scope.through, list(reader.reads)) if unread else ()
        rows = await connection.fetch(
            _SCAN_UNREAD if unread else _SCAN_ALL,
            reader.client,
            reader.user,
            channels,
            starts,
            *before,
            each,
            limit - len(found),
            *more,
        )
        horizon = (rows[0]["horizon_at"], rows[0]["horizon_id"]) if rows[0]["horizon_at"] else None
        spots = [(row["created_at"], row["notification"]) for row in rows if row["created_at"]]
        if rest is not None:
            # Of the channels that were left out nothing is known from their first one on.
            horizon = rest if horizon is None else max(horizon, rest)
            spots = [spot for spot in spots if spot >= rest]
        found += sorted(spots, reverse=True)
        budget -= max(1, rows[0]["scanned"])
        if len(found) >= limit:
            return found, found[-1]
        if horizon is None or budget <= 0:
            return found, horizon
        before = horizon
        each *= 4


async def _unread(
    connection: Any,
    reader: Reader,
    scope: _Scope,
    before: _Spot,
    limit: int,
    budget: int = SCANNED_MAX,
) -> tuple[list[_Spot], _Spot | None]:
    """Places of what is unread, newest first, and where it was not looked at any more."""
    found, horizon = await _scan(
        connection, reader, scope, unread=True, before=before, limit=limit, budget=budget
    )
    kept = await _kept(connection, reader, scope)
    late: list[_Spot] = []
    if scope.settled > _FIRST:
        rows = await connection.fetch(
            _LATE,
            reader.client,
            reader.user,
            scope.channels,
            scope.since,
            scope.late_from,
            scope.through,
            scope.settled,
            max(1, LATE_MAX // max(1, len(scope.channels))),
            list(reader.reads),
        )
        late = [(row["created_at"], row["notification"]) for row in rows]
    more = [spot for spot in (*kept, *late) if spot < before]
    if more:
        merged = sorted({*found, *more}, reverse=True)
        if horizon is not None:
            merged = [spot for spot in merged if spot >= horizon]
        if len(merged) > limit:
            horizon = merged[limit - 1]
        found = merged[:limit]
    return found, horizon


async def _kept(connection: Any, reader: Reader, scope: _Scope) -> list[_Spot]:
    rows = await connection.fetch(
        _KEPT,
        reader.client,
        reader.user,
        scope.channels,
        scope.since,
        scope.through,
        KEPT_READ_MAX,
        list(reader.reads),
        [from_unix_ms(at) for at in reader.reads.values()],
    )
    return [(row["created_at"], row["notification"]) for row in rows]


def _place(spot: _Spot) -> InboxPlace:
    return InboxPlace(unix_ms(spot[0]), spot[1])


async def find_page(
    connection: Any,
    reader: Reader,
    *,
    filters: Filters,
    before: InboxPlace | None,
    limit: int,
) -> tuple[list[Item], InboxPlace | None]:
    """Newest notifications of an inbox, and from where on to ask for more; None: there is no more.

    About `SCANNED_MAX` publications are looked at. If few of them are asked for, the page is short,
    or empty, and there is more nevertheless.

    Args:
        connection: of asyncpg.
        reader: whose inbox.
        filters: which of it.
        before: only what is older than this; None: from the newest on.
        limit: how many at most.
    """
    scope = await _scope(connection, reader, filters)
    start = (from_unix_ms(before.created_ms), before.id) if before else (_LAST, "")
    if not scope.channels:
        return [], None
    if filters.archived:
        return await _archived_page(connection, reader, scope, start, limit, unread=filters.unread)
    if filters.unread:
        spots, horizon = await _unread(connection, reader, scope, start, limit + 1)
    else:
        spots, horizon = await _scan(
            connection,
            reader,
            scope,
            unread=False,
            before=start,
            limit=limit + 1,
            budget=SCANNED_MAX,
        )
    following = horizon
    if len(spots) > limit:
        spots = spots[:limit]
        following = spots[-1]
    items = await _items(connection, reader, scope, spots)
    return items, None if following is None else _place(following)


async def _archived_page(
    connection: Any, reader: Reader, scope: _Scope, start: _Spot, limit: int, *, unread: bool
) -> tuple[list[Item], InboxPlace | None]:
    rows = await connection.fetch(
        """
        SELECT created_at, notification FROM inbox_archived
        WHERE client = $1 AND user_id = $2 AND archived AND (created_at, notification) < ($3, $4)
        ORDER BY created_at DESC, notification DESC LIMIT $5
        """,
        reader.client,
        reader.user,
        *start,
        limit + 1,
    )
    spots = [(row["created_at"], row["notification"]) for row in rows]
    following = _place(spots[limit - 1]) if len(spots) > limit else None
    # Items that left the inbox meanwhile make the page shorter.
    items = await _items(connection, reader, scope, spots[:limit])
    return [
        item._replace(archived=True) for item in items if not unread or item.read_ms is None
    ], following


async def _items(connection: Any, reader: Reader, scope: _Scope, spots: list[_Spot]) -> list[Item]:
    if not spots:
        return []
    rows = await connection.fetch(
        _FRAMES,
        reader.client,
        reader.user,
        scope.channels,
        scope.since,
        scope.through,
        [at for at, _ in spots],
        [notification for _, notification in spots],
    )
    return [
        Item(
            row["notification"],
            unix_ms(row["created_at"]),
            _read_ms(row, reader.reads),
            row["frame"].encode(),
        )
        for row in rows
    ]


def _read_ms(row: Any, reads: dict[str, int]) -> int | None:
    if row["read_at"] is not None:
        return unix_ms(row["read_at"])
    lately = reads.get(row["notification"])
    if lately is None or (row["marked_at"] and lately <= unix_ms(row["marked_at"])):
        return None
    return lately


async def page(
    connection: Any,
    reader: Reader,
    *,
    filters: Filters,
    before: InboxPlace | None,
    limit: int,
) -> list[Item]:
    """Newest notifications of an inbox, as `find_page` has them."""
    items, _ = await find_page(connection, reader, filters=filters, before=before, limit=limit)
    return items


async def find_unread(connection: Any, reader: Reader, limit: int) -> Found:
    """Newest unread notifications of an inbox, `limit` at most.

    `SCANNED_MAX` publications are looked at, or twice the limit.
    """
    scope = await _scope(connection, reader, Filters())
    budget = max(SCANNED_MAX, 2 * limit)
    spots, horizon = await _unread(connection, reader, scope, (_LAST, ""), limit, budget)
    return Found([_place(spot) for spot in spots], horizon and _place(horizon))


async def unread_ids(connection: Any, reader: Reader, limit: int) -> list[InboxPlace]:
    """Newest unread notifications of an inbox, as `find_unread` has them."""
    return (await find_unread(connection, reader, limit)).places


async def unread_count(connection: Any, reader: Reader) -> int:
    """Number of unread notifications of an inbox.

    It is exact up to `UNREAD_IDS_MAX`. Past that, or if many more than `SCANNED_MAX` publications
    would have to be looked at, the rest is worked out from offsets, less the receipts that there
    are (`READS_COUNTED_MAX` at most): a notification of several rooms then counts for each of them.
    """
    scope = await _scope(connection, reader, Filters())
    limit = UNREAD_IDS_MAX + 1
    spots, horizon = await _unread(connection, reader, scope, (_LAST, ""), limit, 2 * SCANNED_MAX)
    if horizon is None:
        return len(spots)
    since = [max(each, scope.settled + _TICK) for each in scope.since]
    rest = await connection.fetchval(_STRETCH, reader.client, scope.channels, since, *horizon)
    reads = await connection.fetchval(
        _READS, reader.client, reader.user, min(since), READS_COUNTED_MAX
    )
    kept = [spot for spot in await _kept(connection, reader, scope) if spot < horizon]
    return len(spots) + len(kept) + max(0, int(rest or 0) - int(reads))


async def settle(connection: Any, reader: Reader) -> bool:
    """Go through an inbox once, so that later reads need not.

    Returns:
        Whether that was any use; not if too much is unread there, or it was tried a while ago.
    """
    scope = await _scope(connection, reader, Filters())
    if datetime.now(UTC) - scope.refused_at < SETTLE_INTERVAL:
        return False
    await connection.fetchval(
        "SELECT settle_inbox($1, $2, $3)", reader.client, reader.user, KEPT_MAX
    )
    return (await _scope(connection, reader, Filters())).settled > scope.settled


async def is_read(connection: Any, reader: Reader, notification: str) -> bool | None:
    """Return whether a notification is read, or None if it is not in the inbox."""
    row = await connection.fetchrow(
        _FIND,
        reader.client,
        reader.user,
        list(reader.reads),
        [from_unix_ms(at) for at in reader.reads.values()],
        notification,
        *span_of(notification),
    )
    return None if row is None else bool(row["read"])


async def created_at_ms(connection: Any, reader: Reader, notification: str) -> int | None:
    """Return when a notification was created (Unix ms), or None if it is not in the inbox."""
    row = await connection.fetchrow(
        _FIND,
        reader.client,
        reader.user,
        list(reader.reads),
        [from_unix_ms(at) for at in reader.reads.values()],
        notification,
        *span_of(notification),
    )
    return None if row is None else unix_ms(row["created_at"])


async def last_read_ms(connection: Any, reader: Reader, notification: str) -> int:
    """Return when a notification was last read, by any of the clocks (Unix ms); 0: never."""
    at = await connection.fetchval(
        """
        SELECT greatest(
            (SELECT max(at) FROM receipts WHERE client = $1 AND user_id = $2 AND kind = 'read'
                AND notification = $3),
            (SELECT read_through FROM users WHERE client = $1 AND id = $2), $4
        )
        """,
        reader.client,
        reader.user,
        notification,
        from_unix_ms(0),
    )
    return max(unix_ms(at), reader.reads.get(notification, 0))


async def read_among(connection: Any, reader: Reader, ids: Sequence[str]) -> set[str]:
    """Return those of the notifications that are read, in the inbox or not."""
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
    """Check which publications, by channel (`room:1`) and position, are in the database.

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
    """Return whether the newest of `reader.reads`, hence all before, are in the database."""
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

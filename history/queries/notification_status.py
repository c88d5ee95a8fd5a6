"""Status of one notification."""

from datetime import timedelta
from typing import Any, Final, NamedTuple

from common.model.timestamps import from_unix_ms, unix_ms
from history.queries.id_time import FOUND, span_of
from history.queries.kafka_positions import decode_mirror_entries

CHANNELS_MAX: Final = 1_000
"""Channels of one notification that its story tells of."""
RUN_MAX: Final = 100_000
"""A gateway's run of writes that is longer than this is not found from its end."""
_CLOCKS: Final = timedelta(minutes=5)
"""Largest difference between the clocks of gateways, bridges and Redis."""


class PublicationRecord(NamedTuple):
    """One channel's part of a notification; an expired one has an empty epoch."""

    channel: str
    epoch: str
    offset: int
    status: str
    kind: str
    sender: str
    target: str | None
    priority: str
    worker: str
    created_ms: int
    published_ms: int


class Writes(NamedTuple):
    """Number of a gateway's sockets that got a publication, and the time of its first report."""

    gateway: str
    sockets: int
    at_ms: int


class MirrorRecord(NamedTuple):
    """Position of one publication in Kafka."""

    topic: str
    partition: int
    offset: int
    at_ms: int


class ReceiptRecord(NamedTuple):
    """User who received or read a notification, and when first."""

    user: str
    at_ms: int


async def publications(connection: Any, client: str, notification: str) -> list[PublicationRecord]:
    """Return the channels where a notification was published or expired, at most `CHANNELS_MAX`."""
    rows = await connection.fetch(
        f"""
        SELECT channel, epoch, "offset", status, type, sender, target, priority, worker,
            created_at, published_at
        FROM {FOUND.format(id="$2", first="$3", last="$4")} found
        ORDER BY published_at, channel, "offset" LIMIT $5
        """,  # noqa: S608 - made of constants
        client,
        notification,
        *span_of(notification),
        CHANNELS_MAX,
    )
    return [
        PublicationRecord(
            row["channel"],
            row["epoch"],
            row["offset"],
            row["status"],
            row["type"],
            row["sender"],
            row["target"],
            row["priority"],
            row["worker"],
            unix_ms(row["created_at"]),
            unix_ms(row["published_at"]),
        )
        for row in rows
    ]


async def writes(
    connection: Any, client: str, those: list[PublicationRecord]
) -> dict[tuple[str, str, int], list[Writes]]:
    """Sockets that publications were written to, by channel, epoch and offset."""
    rows = await connection.fetch(
        """
        SELECT asked.channel, asked.epoch, asked.place, w.gateway, sum(w.sockets) AS sockets,
            min(w.at) AS at
        FROM unnest($2::text[], $3::text[], $4::bigint[]) AS asked(channel, epoch, place)
        JOIN writes w ON w.client = $1 AND w.channel = asked.channel AND w.epoch = asked.epoch
            AND w.first_offset BETWEEN asked.place - $5 AND asked.place
            AND w.last_offset >= asked.place AND w.at >= $6
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        """,
        client,
        *_columns(those),
        RUN_MAX,
        min((from_unix_ms(one.published_ms) for one in those), default=from_unix_ms(0)) - _CLOCKS,
    )
    found: dict[tuple[str, str, int], list[Writes]] = {}
    for row in rows:
        place = (row["channel"], row["epoch"], row["place"])
        one = Writes(row["gateway"], row["sockets"], unix_ms(row["at"]))
        found.setdefault(place, []).append(one)
    return found


async def mirrors(
    connection: Any, client: str, those: list[PublicationRecord]
) -> dict[tuple[str, str, int], list[MirrorRecord]]:
    """Return the Kafka positions of publications, by channel, epoch and offset."""
    times = {one.published_ms for one in those if one.status == "published"}
    rows = await connection.fetch(
        """
        SELECT DISTINCT ON (m.at, m.event) m.topic, m.entries, m.at
        FROM unnest($1::bigint[]) AS asked(published_ms)
        JOIN mirror_batches m
            ON int8range(m.first_ms, m.last_ms, '[]') @> asked.published_ms AND m.at >= $2
        ORDER BY m.at, m.event
        """,
        [*times],
        from_unix_ms(min(times, default=0)) - _CLOCKS,
    )
    scoped = {f"{client}/{one.channel}": one.channel for one in those}
    asked = {(one.channel, one.epoch, one.offset) for one in those}
    found: dict[tuple[str, str, int], dict[tuple[str, int, int], int]] = {}
    for row in rows:
        at_ms = unix_ms(row["at"])
        for name, epoch, offset, partition, kafka_offset in decode_mirror_entries(row["entries"]):
            place = (scoped.get(name, ""), epoch, offset)
            if place in asked:
                where = (row["topic"], partition, kafka_offset)
                found.setdefault(place, {}).setdefault(where, at_ms)
    return {
        place: [MirrorRecord(*where, at_ms) for where, at_ms in those_of_it.items()]
        for place, those_of_it in found.items()
    }


def _columns(those: list[PublicationRecord]) -> tuple[list[str], list[str], list[int]]:
    published = [one for one in those if one.status == "published"]
    return (
        [one.channel for one in published],
        [one.epoch for one in published],
        [one.offset for one in published],
    )


async def receipt_counts(connection: Any, client: str, notification: str) -> dict[str, int]:
    """Count the users who received (`delivered`) and read (`read`) a notification."""
    rows = await connection.fetch(
        """
        SELECT kind, count(DISTINCT user_id) AS users FROM receipts
        WHERE client = $1 AND notification = $2 GROUP BY kind
        """,
        client,
        notification,
    )
    return {"delivered": 0, "read": 0} | {row["kind"]: row["users"] for row in rows}


async def receipts(
    connection: Any,
    client: str,
    notification: str,
    kind: str,
    *,
    after: ReceiptRecord | None,
    limit: int,
) -> list[ReceiptRecord]:
    """List users who received or read a notification, by first time, at most `limit`."""
    rows = await connection.fetch(
        """
        SELECT user_id, min(at) AS first FROM receipts
        WHERE client = $1 AND notification = $2 AND kind = $3
        GROUP BY user_id HAVING (min(at), user_id) > ($4, $5)
        ORDER BY 2, 1 LIMIT $6
        """,
        client,
        notification,
        kind,
        from_unix_ms(after.at_ms if after else -62_000_000_000_000),
        after.user if after else "",
        limit,
    )
    return [ReceiptRecord(row["user_id"], unix_ms(row["first"])) for row in rows]

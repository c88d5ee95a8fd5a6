"""What became of one notification, in a real database."""

from typing import Any

import pytest

from common.model.ids import new_id
from common.model.timestamps import format_time
from history.queries.notification_status import (
    CHANNELS_MAX,
    MirrorRecord,
    PublicationRecord,
    ReceiptRecord,
    Writes,
    mirrors,
    publications,
    receipt_counts,
    receipts,
    writes,
)
from tests.history.queries.conftest import HOUR_MS, NOW_MS, ClientHistory


async def test_each_channel_tells_its_part_in_the_order_of_publication(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    for an_id in ("n1", new_id()):
        await mine.publish("room:b", an_id, NOW_MS, published_ms=NOW_MS + 2, offset=7)
        await mine.publish("room:a", an_id, NOW_MS, published_ms=NOW_MS + 1, offset=9)
        await mine.expire("user:1", an_id, NOW_MS)
        await theirs.publish("room:c", an_id, NOW_MS)
        found = await publications(connection, mine.client, an_id)
        assert [(one.channel, one.epoch, one.offset, one.status) for one in found] == [
            ("user:1", "", 0, "expired"),
            ("room:a", "e", 9, "published"),
            ("room:b", "e", 7, "published"),
        ]
        assert found[2] == PublicationRecord(
            *("room:b", "e", 7, "published", "room", "2", "b", "high", "w1"), NOW_MS, NOW_MS + 2
        )
    assert await publications(connection, mine.client, "n2") == []


async def test_of_very_many_channels_some_are_told(connection: Any, mine: ClientHistory) -> None:
    await mine.publish("room:0", "n1")
    await connection.execute(
        "INSERT INTO publications SELECT client, notification, 'room:' || g, epoch, \"offset\","
        " status, type, sender, target, priority, email, frame, worker, created_at, published_at,"
        " dated FROM publications, generate_series(1, $2::int) g WHERE client = $1",
        mine.client,
        CHANNELS_MAX,
    )
    assert len(await publications(connection, mine.client, "n1")) == CHANNELS_MAX


async def test_writes_to_sockets_add_up_for_each_gateway(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    for offset in (1, 2, 3):
        await mine.publish("room:1", f"n{offset}", NOW_MS, offset=offset)

    async def report(
        history: ClientHistory, gateway: str, after_ms: int, *runs: list[int], epoch: str = "e"
    ) -> None:
        at = format_time(NOW_MS + after_ms)
        body = {"gateway": gateway, "epoch": epoch, "runs": runs, "at": at}
        await history.write("written", "room:1", NOW_MS, body)

    await report(mine, "g1", 20, [1, 2, 5])
    await report(mine, "g1", 10, [2, 2, 1], [3, 9, 4])
    await report(mine, "g2", 30, [2, 9, 7])
    await report(mine, "g3", 0, [1, 9, 99], epoch="another")
    await report(theirs, "g4", 0, [1, 9, 99])
    those = [one for n in (1, 2, 3) for one in await publications(connection, mine.client, f"n{n}")]
    assert await writes(connection, mine.client, those) == {
        ("room:1", "e", 1): [Writes("g1", 5, NOW_MS + 20)],
        ("room:1", "e", 2): [Writes("g1", 6, NOW_MS + 10), Writes("g2", 7, NOW_MS + 30)],
        ("room:1", "e", 3): [Writes("g1", 4, NOW_MS + 10), Writes("g2", 7, NOW_MS + 30)],
    }
    assert await writes(connection, mine.client, []) == {}


async def test_what_expired_was_written_nowhere(connection: Any, mine: ClientHistory) -> None:
    await mine.expire("room:1", "n1")
    those = await publications(connection, mine.client, "n1")
    assert len(those) == 1
    assert await writes(connection, mine.client, those) == {}
    assert await mirrors(connection, mine.client, those) == {}


async def test_a_batch_that_was_told_twice_is_one_place(
    connection: Any, mine: ClientHistory
) -> None:
    await mine.publish("room:1", "n1", NOW_MS)
    name = f"{mine.client}/room:1"
    here = [[name, "e", 1, 0, 7], [name, "e", 2, 0, 9]]
    there = [[name, "e", 1, 0, 8]]
    for first_ms, last_ms, entries, after_ms in (
        (NOW_MS, NOW_MS, here, 0),
        (NOW_MS - 5, NOW_MS + 5, here, 1_000),
        (NOW_MS - 5, NOW_MS, there, 2_000),
        # Of another time, whatever it says.
        (NOW_MS + 1, NOW_MS + 5, [[name, "e", 1, 3, 3]], 0),
    ):
        at = format_time(NOW_MS + after_ms)
        body = {"topic": "t", "at": at, "firstMs": first_ms, "lastMs": last_ms, "entries": entries}
        await mine.write("mirrored", "", NOW_MS, body)
    those = await publications(connection, mine.client, "n1")
    # Written to Kafka twice is at two places.
    assert await mirrors(connection, mine.client, those) == {
        ("room:1", "e", 1): [
            MirrorRecord("t", 0, 7, NOW_MS),
            MirrorRecord("t", 0, 8, NOW_MS + 2_000),
        ]
    }
    assert await mirrors(connection, "other", those) == {}


async def test_a_user_counts_once_for_what_they_received_and_once_for_what_they_read(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    for user, kind, after_ms in (
        ("ann", "delivered", 0),
        ("ann", "delivered", 5),
        ("bob", "delivered", 1),
        ("ann", "read", 6),
    ):
        await mine.receipt(kind, user, "n1", NOW_MS + after_ms)
    await theirs.receipt("read", "cid", "n1")
    await mine.receipt("read", "bob", "n2")
    counts = await receipt_counts(connection, mine.client, "n1")
    assert counts == {"delivered": 2, "read": 1}
    assert await receipt_counts(connection, mine.client, "n9") == {"delivered": 0, "read": 0}


@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_receipts_come_in_pages_by_each_user_s_first_one(
    connection: Any, mine: ClientHistory, limit: int
) -> None:
    for user, after_ms in (("c", 3), ("a", 2), ("b", 2), ("c", 1), ("a", 9)):
        await mine.receipt("read", user, "n1", NOW_MS + after_ms)
    await mine.receipt("delivered", "d", "n1", NOW_MS)
    found: list[ReceiptRecord] = []
    while page := await receipts(
        connection, mine.client, "n1", "read", after=found[-1] if found else None, limit=limit
    ):
        assert len(page) <= limit
        found += page
    assert found == [
        ReceiptRecord(user, NOW_MS + ms) for user, ms in (("c", 1), ("a", 2), ("b", 2))
    ]


async def test_what_is_old_is_found_by_its_time(connection: Any, mine: ClientHistory) -> None:
    long_ago = NOW_MS - 20 * 24 * HOUR_MS
    await mine.publish("room:1", "n1", long_ago)
    (one,) = await publications(connection, mine.client, "n1")
    assert (one.created_ms, one.published_ms) == (long_ago, long_ago)

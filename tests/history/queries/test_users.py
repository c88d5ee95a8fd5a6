"""Users, their memberships, and what is left of deleted ones, in a real database."""

from typing import Any

from common.model.timestamps import from_unix_ms
from history.queries.users import (
    REMOVED_AT_ONCE,
    Membership,
    find_user,
    memberships,
    remove_leftovers,
)
from tests.history.queries.conftest import HOUR_MS, NOW_MS, ClientHistory


async def test_a_user_is_known_once_registered_and_to_one_client(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    await mine.change("user", "ann", NOW_MS)
    assert await find_user(connection, mine.client, "ann") == from_unix_ms(NOW_MS)
    assert await find_user(connection, mine.client, "bob") is None
    assert await find_user(connection, theirs.client, "ann") is None


async def test_memberships_come_in_pages_by_the_names_of_rooms(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    rooms = ["b", "10", "a", "9"]
    for number, room in enumerate(rooms):
        await mine.join("ann", room, NOW_MS + number)
    await mine.join("bob", "c")
    await theirs.join("ann", "d")
    await mine.change("member-left", "ann", NOW_MS + 10, room="9")
    expected = [Membership(room, NOW_MS + rooms.index(room)) for room in ("10", "a", "b")]
    assert await memberships(connection, mine.client, "ann", after="", limit=9) == expected
    assert await memberships(connection, mine.client, "ann", after="", limit=2) == expected[:2]
    assert await memberships(connection, mine.client, "ann", after="a", limit=9) == expected[2:]
    assert await memberships(connection, mine.client, "ann", after="b", limit=9) == []


async def test_what_a_deleted_user_left_is_removed_and_nobody_else_s(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    for history, user in ((mine, "ann"), (mine, "bob"), (theirs, "ann")):
        await history.publish(f"user:{user}", "n1", NOW_MS - HOUR_MS)
        await history.receipt("read", user, "n1", NOW_MS - HOUR_MS)
    await mine.change("user-deleted", "ann", NOW_MS)
    await mine.publish("user:ann", "n2", NOW_MS + 1)
    assert await remove_leftovers(connection, theirs.client) == 0
    removed = 0
    while more := await remove_leftovers(connection, mine.client, "ann"):
        removed += more
    assert removed >= 2
    left = await connection.fetch(
        "SELECT client, channel, notification FROM publications WHERE client = ANY($1)"
        " ORDER BY channel, notification",
        [mine.client, theirs.client],
    )
    assert sorted(map(tuple, left)) == sorted(
        [
            (mine.client, "user:bob", "n1"),
            (mine.client, "user:ann", "n2"),
            (theirs.client, "user:ann", "n1"),
        ]
    )
    reads = "SELECT client, user_id FROM receipts WHERE client = ANY($1)"
    found = {tuple(row) for row in await connection.fetch(reads, [mine.client, theirs.client])}
    assert found == {(mine.client, "bob"), (theirs.client, "ann")}


async def test_one_call_removes_so_many_rows_of_a_kind(
    connection: Any, mine: ClientHistory
) -> None:
    await mine.receipt("read", "ann", "n0", NOW_MS - HOUR_MS)
    await connection.execute(
        "INSERT INTO receipts SELECT client, 'n' || g, user_id, kind, at"
        " FROM receipts, generate_series(1, $2::int) g WHERE client = $1",
        mine.client,
        REMOVED_AT_ONCE,
    )
    await mine.change("user-deleted", "ann", NOW_MS)
    count = "SELECT count(*) FROM receipts WHERE client = $1"
    await remove_leftovers(connection, mine.client, "ann")
    assert await connection.fetchval(count, mine.client) == 1
    await remove_leftovers(connection, mine.client, "ann")
    assert await connection.fetchval(count, mine.client) == 0

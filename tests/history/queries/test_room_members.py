"""The members of a room, in a real database."""

from typing import Any

from history.queries.room_members import RoomMember, members
from tests.history.queries.conftest import NOW_MS, ClientHistory


async def test_members_come_in_the_order_in_which_they_joined_and_in_pages(
    connection: Any, mine: ClientHistory
) -> None:
    joined = [("c", 1), ("a", 2), ("b", 2), ("d", 0)]
    for user, after_ms in joined:
        await mine.join(user, "1", NOW_MS + after_ms)
    expected = [
        RoomMember(user, NOW_MS + ms) for user, ms in (("d", 0), ("c", 1), ("a", 2), ("b", 2))
    ]
    assert await members(connection, mine.client, "1", after=None, limit=9) == expected
    for limit in (1, 2, 3):
        found: list[RoomMember] = []
        while page := await members(
            connection, mine.client, "1", after=found[-1] if found else None, limit=limit
        ):
            assert len(page) <= limit
            found += page
        assert found == expected


async def test_who_left_or_is_elsewhere_is_no_member(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    await mine.join("ann", "1")
    await mine.join("bob", "2")
    await theirs.join("cid", "1")
    await mine.change("member-left", "ann", NOW_MS + 1, room="1")
    assert await members(connection, mine.client, "1", after=None, limit=9) == []
    await mine.join("ann", "1", NOW_MS + 2)
    found = await members(connection, mine.client, "1", after=None, limit=9)
    assert found == [RoomMember("ann", NOW_MS + 2)]

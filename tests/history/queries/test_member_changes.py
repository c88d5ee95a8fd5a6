"""Changes of users and memberships: each once, in whatever order they come to the database."""

import itertools
from typing import Any

import pytest

from common.events.event import EventKind
from common.model.timestamps import from_unix_ms
from history.queries.inbox import rooms_of
from history.queries.member_changes import Change, apply
from history.queries.room_members import members
from history.queries.users import find_user
from tests.history.queries.conftest import ClientHistory

JOINED, LEFT = EventKind.MEMBER_JOINED, EventKind.MEMBER_LEFT


@pytest.mark.parametrize(
    ("changes", "since"),
    [
        ([Change(JOINED, "1", "r", 100, "5-0"), Change(LEFT, "1", "r", 100, "5-1")], None),
        ([Change(LEFT, "1", "r", 100, "9-0"), Change(JOINED, "1", "r", 120, "10-0")], 120),
        ([Change(LEFT, "1", "r", 100, "5-0"), Change(LEFT, "1", "r", 120, "6-0")], None),
    ],
)
async def test_in_whatever_order_and_however_often_the_last_one_wins(
    connection: Any, mine: ClientHistory, changes: list[Change], since: int | None
) -> None:
    for number, order in enumerate(itertools.permutations([*changes, *changes])):
        room = str(number)
        for change in order:
            await apply(connection, mine.client, change._replace(room=room))
        found = await members(connection, mine.client, room, after=None, limit=5)
        assert [one.joined_ms for one in found] == ([] if since is None else [since])
    joined = {} if since is None else {str(n): since for n in range(number + 1)}
    assert await rooms_of(connection, mine.client, "1") == joined
    assert await connection.fetchval("SELECT count(*) FROM changes") == 0


async def test_who_is_a_member_already_keeps_the_time(connection: Any, mine: ClientHistory) -> None:
    await apply(connection, mine.client, Change(JOINED, "1", "r", 100, "5-0"))
    await apply(connection, mine.client, Change(JOINED, "1", "r", 200, "6-0"))
    assert await rooms_of(connection, mine.client, "1") == {"r": 100}


async def test_a_user_is_registered_once(connection: Any, mine: ClientHistory) -> None:
    for at_ms, event in ((100, "5-0"), (200, "6-0")):
        await apply(connection, mine.client, Change(EventKind.USER, "1", "", at_ms, event))
    assert await find_user(connection, mine.client, "1") == from_unix_ms(100)


async def test_what_was_read_through_never_goes_back(connection: Any, mine: ClientHistory) -> None:
    for at_ms, event in ((200, "6-0"), (100, "7-0"), (150, "5-0")):
        await apply(connection, mine.client, Change(EventKind.READ_ALL, "1", "", at_ms, event))
    through = await connection.fetchval(
        "SELECT read_through FROM users WHERE client = $1 AND id = '1'", mine.client
    )
    assert through == from_unix_ms(200)


async def test_nothing_from_before_a_deletion_comes_back(
    connection: Any, mine: ClientHistory
) -> None:
    deleted = Change(EventKind.USER_DELETED, "1", "", 200, "9-0")
    await apply(connection, mine.client, Change(JOINED, "1", "r", 100, "5-0"))
    await apply(connection, mine.client, deleted)
    await apply(connection, mine.client, Change(JOINED, "1", "r", 100, "5-0"))
    await apply(connection, mine.client, Change(EventKind.USER, "1", "", 100, "4-0"))
    assert await rooms_of(connection, mine.client, "1") == {}
    assert await find_user(connection, mine.client, "1") is None
    await apply(connection, mine.client, Change(JOINED, "1", "r", 300, "10-0"))
    assert await rooms_of(connection, mine.client, "1") == {"r": 300}

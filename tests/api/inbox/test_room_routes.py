"""The routes of rooms over HTTP (`server/members/room_routes.py`)."""

import asyncio

from tests.support.clients.api import Api


async def test_members_come_in_pages_in_the_order_in_which_they_joined(api: Api, room: str) -> None:
    users = [f"u{number}" for number in (5, 3, 4, 1, 2)]
    for user in users:
        await api.join(room, user)
        await api.join(room, user)
    seen: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = (await api("GET", f"/rooms/{room}/members", params={"limit": "2", **query})).body
        assert all(member["joinedAt"].endswith("Z") for member in page["members"])
        seen += [member["userId"] for member in page["members"]]
        if page["nextCursor"] is None:
            break
        query = {"cursor": page["nextCursor"]}
    assert seen == users
    await api.leave(room, "u4")
    await api.leave(room, "u4")
    page = (await api("GET", f"/rooms/{room}/members")).body
    assert [member["userId"] for member in page["members"]] == ["u5", "u3", "u1", "u2"]


async def test_who_joins_again_keeps_the_time_until_they_leave(
    api: Api, user: str, room: str
) -> None:
    async def joined_at() -> str:
        (member,) = (await api("GET", f"/rooms/{room}/members")).body["members"]
        (membership,) = (await api("GET", f"/users/{user}/rooms")).body["rooms"]
        assert membership == {"room": room, "joinedAt": member["joinedAt"]}
        return str(member["joinedAt"])

    await api.join(room, user)
    first = await joined_at()
    await asyncio.sleep(0.01)
    await api.join(room, user)
    assert await joined_at() == first
    await api.leave(room, user)
    await api.join(room, user)
    assert await joined_at() > first


async def test_a_room_that_nobody_joined_has_no_members(api: Api, room: str) -> None:
    await api.leave(room, "ann")
    found = await api("GET", f"/rooms/{room}/members")
    assert (found.status, found.body) == (200, {"members": [], "nextCursor": None})


async def test_joining_makes_nobody_a_known_user(api: Api, user: str, room: str) -> None:
    await api.join(room, user)
    assert (await api("GET", f"/users/{user}")).status == 404

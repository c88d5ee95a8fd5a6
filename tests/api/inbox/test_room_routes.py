"""The routes of rooms over HTTP (`server/members/room_routes.py`)."""

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

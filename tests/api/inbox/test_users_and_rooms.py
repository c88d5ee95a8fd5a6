from tests.support.clients.api import Api


async def test_a_user_is_made_known_once(api: Api, user: str) -> None:
    assert (await api("GET", f"/users/{user}")).status == 404
    made = await api("POST", "/users", json={"id": user})
    assert (made.status, made.body["id"]) == (201, user)
    assert made.headers["location"] == f"/users/{user}"
    again = await api("POST", "/users", json={"id": user})
    assert (again.status, again.body) == (200, made.body)
    assert (await api("GET", f"/users/{user}")).body == made.body


async def test_a_bad_user_is_refused_with_pointers(api: Api) -> None:
    for body, where in (({}, "/id"), ({"id": "\n"}, "/id"), ({"id": 1, "name": "x"}, "/name")):
        answer = await api("POST", "/users", json=body)
        assert answer.status == 422, answer
        assert [error["pointer"] for error in answer.body["errors"]] == [where]
    json = {"Content-Type": "application/json"}
    assert (await api("POST", "/users", data=b"{", headers=json)).status == 400
    assert (await api("POST", "/users", data=b"{}")).status == 415


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

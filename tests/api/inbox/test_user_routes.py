"""The routes of users over HTTP (`server/members/user_routes.py`)."""

from urllib.parse import quote

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


async def test_rooms_of_a_user_come_in_pages(api: Api, user: str) -> None:
    rooms = [f"r{number}" for number in range(5)]
    for room in reversed(rooms):
        await api.join(room, user)
    await api.leave("r3", user)
    seen: list[str] = []
    query: dict[str, str] = {}
    while True:
        answer = await api("GET", f"/users/{user}/rooms", params={"limit": "2", **query})
        assert answer.status == 200, answer
        seen += [one["room"] for one in answer.body["rooms"]]
        if answer.body["nextCursor"] is None:
            break
        query = {"cursor": answer.body["nextCursor"]}
    assert seen == ["r0", "r1", "r2", "r4"]


async def test_the_location_of_a_user_leads_to_them(api: Api, user: str) -> None:
    made = await api("POST", "/users", json={"id": f"{user}-ü"})
    assert made.headers["location"] == "/users/" + quote(f"{user}-ü")
    assert (await api("GET", made.headers["location"])).body == made.body


async def test_a_deleted_user_is_unknown_and_in_no_room(api: Api, user: str, room: str) -> None:
    await api.join(room, user)
    for _ in range(2):
        assert (await api("DELETE", f"/users/{user}")).status == 204
    gone = await api("GET", f"/users/{user}")
    assert (gone.status, gone.body["code"]) == (404, "user-not-found")
    assert (await api("GET", f"/users/{user}/rooms")).body == {"rooms": [], "nextCursor": None}
    # Who comes again under this id is new.
    assert (await api("POST", "/users", json={"id": user})).status == 201

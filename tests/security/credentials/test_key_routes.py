"""`server/clients/key_routes.py`: keys are made, rotated and revoked."""

import asyncio
import time
from typing import Any

import pytest

from server.clients.key_routes import KEYS_MAX
from tests.support.clients.api import Api
from tests.support.credentials import ROOM, AuthStack, Made, accepts
from tests.support.waiting import until


async def test_a_revoked_key_stops_working_on_every_server_within_two_seconds(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    made = await api(
        "POST",
        "/clients/me/keys",
        json={"name": "second", "scopes": ["notify"]},
        headers=shop.bearer,
    )
    assert made.status == 201, made
    key = made.body["apiKey"]
    for server in (0, 1):
        await until(lambda server=server: accepts(auth_stack, server, key))  # type: ignore[misc]
    gone = await api("DELETE", f"/clients/me/keys/{made.body['id']}", headers=shop.bearer)
    assert gone.status == 204
    revoked = time.monotonic()

    async def refused() -> bool:
        return not any([await accepts(auth_stack, server, key) for server in (0, 1)])

    await until(refused)
    assert time.monotonic() - revoked < 2
    assert await accepts(auth_stack, 0, shop.key)
    again = await api("DELETE", f"/clients/me/keys/{made.body['id']}", headers=shop.bearer)
    assert again.status == 404


async def test_a_rotated_key_works_on_for_the_overlap(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    old = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][0]
    answer = await api(
        "POST",
        f"/clients/me/keys/{old['id']}/rotate",
        json={"overlapS": 2},
        headers=shop.bearer,
    )
    assert answer.status == 201, answer
    new = Made(shop.id, answer.body["apiKey"])
    await until(lambda: accepts(auth_stack, 0, new.key))
    assert await accepts(auth_stack, 0, shop.key)

    async def over() -> bool:
        return not await accepts(auth_stack, 0, shop.key)

    await until(over)
    keys = (await api("GET", "/clients/me/keys", headers=new.bearer)).body["keys"]
    assert [key["scopes"] for key in keys] == [["admin", "notify", "read"]] * 2


async def test_a_key_gives_no_scope_that_it_lacks(api: Api, shop: Made) -> None:
    async def add(by: Made, *scopes: str) -> Any:
        body = {"name": "k", "scopes": list(scopes)}
        return await api("POST", "/clients/me/keys", json=body, headers=by.bearer)

    manager = Made(shop.id, (await add(shop, "admin")).body["apiKey"])

    async def managing() -> bool:
        return bool((await add(manager, "admin")).status == 201)

    await until(managing)
    refused = await add(manager, "admin", "notify")
    assert (refused.status, refused.body["code"]) == (403, "forbidden")
    first = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][-1]
    rotated = await api(
        "POST", f"/clients/me/keys/{first['id']}/rotate", json={}, headers=manager.bearer
    )
    assert rotated.status == 403
    sent = await api("POST", "/notify", json=ROOM, headers=manager.bearer)
    assert (sent.status, sent.body["code"]) == (403, "forbidden")


async def test_a_client_has_so_many_keys_however_it_gets_them(api: Api, shop: Made) -> None:
    first = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][0]["id"]
    body = {"name": "k", "scopes": ["read"]}
    added = await asyncio.gather(
        *(
            api("POST", "/clients/me/keys", json=body, headers=shop.bearer)
            for _ in range(KEYS_MAX + 5)
        )
    )
    assert sorted(answer.status for answer in added) == [201] * (KEYS_MAX - 1) + [409] * 6
    assert {one.body["code"] for one in added if one.status == 409} == {"too-many-keys"}
    path = f"/clients/me/keys/{first}/rotate"
    assert (await api("POST", path, json={"overlapS": 5}, headers=shop.bearer)).status == 409
    assert (await api("POST", path, json={}, headers=shop.bearer)).status == 201


async def test_a_new_key_is_listed_without_its_text(api: Api, shop: Made) -> None:
    body = {"name": "till", "scopes": ["read", "notify"], "expiresAt": "2999-01-01T01:00:00+01:00"}
    made = await api("POST", "/clients/me/keys", json=body, headers=shop.bearer)
    assert made.status == 201, made
    assert made.headers["location"] == f"/clients/me/keys/{made.body['id']}"
    assert made.headers["cache-control"] == "no-store"
    listed = await api("GET", "/clients/me/keys", headers=shop.bearer)
    till = listed.body["keys"][0]
    assert (till["id"], till["name"], till["scopes"]) == (
        made.body["id"],
        "till",
        ["notify", "read"],
    )
    assert (till["expiresAt"], till["revokedAt"]) == ("2999-01-01T00:00:00.000Z", None)
    assert made.body["apiKey"] not in listed.text


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "/expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-01:00"}, "/expiresAt"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_key_that_is_of_no_use_is_not_made(
    api: Api, shop: Made, change: dict[str, Any], pointer: str
) -> None:
    body = {"name": "k", "scopes": ["read"], **change}
    answer = await api("POST", "/clients/me/keys", json=body, headers=shop.bearer)
    assert (answer.status, answer.body["code"]) == (422, "invalid"), answer
    assert answer.body["errors"][0]["pointer"] == pointer
    assert len((await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"]) == 1


async def test_no_client_ends_another_s_key(api: Api, shop: Made, bank: Made) -> None:
    (theirs,) = (await api("GET", "/clients/me/keys", headers=bank.bearer)).body["keys"]
    path = f"/clients/me/keys/{theirs['id']}"
    for method, url in (("DELETE", path), ("POST", f"{path}/rotate")):
        more: dict[str, Any] = {"json": {}} if method == "POST" else {}
        answer = await api(method, url, headers=shop.bearer, **more)
        assert (answer.status, answer.body["code"]) == (404, "key-not-found"), answer
    (now,) = (await api("GET", "/clients/me/keys", headers=bank.bearer)).body["keys"]
    assert now == theirs

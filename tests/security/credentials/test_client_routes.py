"""`server/clients/client_routes.py`: clients as operators manage them and see themselves."""

from typing import Any

import aiohttp
import pytest

from server.clients.client_routes import Limits
from tests.security.limits.limiting import one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, accepts
from tests.support.waiting import until


async def test_a_new_client_is_answered_with_its_key_which_works_at_once(
    api: Api, auth_stack: AuthStack
) -> None:
    answer = await api(
        "POST",
        "/clients",
        json={"name": "Shop", "email": "shop@example.com"},
        headers={"Authorization": f"Bearer {auth_stack.operator}"},
    )
    assert answer.status == 201
    assert set(answer.body) == {"clientId", "name", "email", "apiKey", "createdAt", "warning"}
    assert answer.headers["cache-control"] == "no-store"
    key = answer.body["apiKey"]
    assert key.startswith("rk_")
    await until(lambda: accepts(auth_stack, 0, key))
    await until(lambda: accepts(auth_stack, 1, key))
    mine = await api("GET", "/clients/me", headers={"x-api-key": key})
    assert (mine.body["clientId"], mine.body["name"]) == (answer.body["clientId"], "Shop")
    kept = await api("GET", "/clients/me/keys", headers={"x-api-key": key})
    assert key not in kept.text


async def test_only_operators_manage_clients(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    body = {"name": "x", "email": "x@example.com"}
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/clients", {"json": body}),
        ("GET", "/clients", {}),
        ("GET", f"/clients/{bank.id}", {}),
        ("PATCH", f"/clients/{bank.id}", {"json": {"disabled": True}}),
        ("GET", "/audit", {}),
        ("GET", "/metrics", {}),
    ]
    for method, path, options in refused:
        answer = await api(method, path, headers=shop.bearer, **options)
        assert (answer.status, answer.body["code"]) == (403, "forbidden"), path
    assert await accepts(auth_stack, 0, bank.key)
    operator = {"x-api-key": auth_stack.operator}
    listed = await api("GET", "/clients?limit=1", headers=operator)
    assert len(listed.body["clients"]) == 1
    following = listed.body["nextCursor"]
    more = await api("GET", "/clients", headers=operator, params={"cursor": following})
    assert more.body["clients"][0]["clientId"] != listed.body["clients"][0]["clientId"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{api.root}/metrics", headers=operator) as response,
    ):
        assert response.status == 200


async def test_a_disabled_client_is_locked_out_until_it_is_enabled(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    operator = {"x-api-key": auth_stack.operator}
    for disabled in (True, False):
        answer = await api(
            "PATCH",
            f"/clients/{shop.id}",
            json={"disabled": disabled, "limits": {"connections": 7}},
            headers=operator,
        )
        assert (answer.status, answer.body["disabled"]) == (200, disabled)
        assert answer.body["limits"] == {"connections": 7}

        async def so(disabled: bool = disabled) -> bool:
            return await accepts(auth_stack, 0, shop.key) is not disabled

        await until(so)
    missing = await api("PATCH", "/clients/nobody", json={"disabled": True}, headers=operator)
    assert missing.status == 404


async def test_where_everybody_may_register_a_client_has_all_scopes_or_those_it_asks_for(
    auth_stack: AuthStack,
) -> None:
    async with (
        one_more(auth_stack, "server", CLIENT_REGISTRATION="true") as name,
        Api(auth_stack) as api,
    ):
        api.root = auth_stack.url(name)
        for scopes, status in ((None, 200), (["notify"], 403)):
            body = {"name": "new", "email": "n@example.com", "scopes": scopes}
            answer = await api("POST", "/clients", json=body)
            assert answer.status == 201, answer
            key = Made("", answer.body["apiKey"])

            async def seen(key: Made = key) -> int:
                return int((await api("GET", "/clients/me/keys", headers=key.bearer)).status)

            await until(lambda seen=seen: _is_not(seen, 401))  # type: ignore[misc]
            assert await seen() == status


async def _is_not(ask: Any, status: int) -> bool:
    return bool(await ask() != status)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"email": "nobody"}, "/email"),
        ({"email": "a b@example.com"}, "/email"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_client_without_a_name_or_an_address_is_not_made(
    api: Api, auth_stack: AuthStack, change: dict[str, str], pointer: str
) -> None:
    body = {"name": "Shop", "email": "shop@example.com", **change}
    answer = await api("POST", "/clients", json=body, headers={"x-api-key": auth_stack.operator})
    assert (answer.status, answer.body["code"]) == (422, "invalid"), answer
    assert answer.body["errors"][0]["pointer"] == pointer


async def test_a_client_sees_its_usage_and_the_limits_that_an_operator_set(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    operator = {"x-api-key": auth_stack.operator}
    path = f"/clients/{shop.id}"
    for limits, shown in (({"notificationsPerDay": 7}, {"notificationsPerDay": 7}), ({}, {})):
        answer = await api("PATCH", path, json={"limits": limits}, headers=operator)
        assert (answer.status, answer.body["limits"]) == (200, shown)
        assert (await api("GET", path, headers=operator)).body == answer.body
        mine = (await api("GET", "/clients/me", headers=shop.bearer)).body
        extra = {name: mine.pop(name) for name in ("usage", "connections", "quota")}
        assert mine == answer.body
        assert len(extra["usage"]) == 30
        assert (extra["quota"]["limit"] == 7) is bool(limits)
    # What is left out stays.
    answer = await api("PATCH", path, json={"disabled": False}, headers=operator)
    assert (answer.body["disabled"], answer.body["limits"]) == (False, {})


@pytest.mark.parametrize("limits", [{"recipients": 0}, {"recipients": "5"}, {"colour": 1}])
async def test_a_limit_that_is_none_is_refused(
    api: Api, auth_stack: AuthStack, shop: Made, limits: dict[str, Any]
) -> None:
    operator = {"x-api-key": auth_stack.operator}
    path = f"/clients/{shop.id}"
    answer = await api("PATCH", path, json={"limits": limits}, headers=operator)
    assert answer.status == 422, answer
    assert answer.body["errors"][0]["pointer"].startswith("/limits/")
    assert (await api("GET", path, headers=operator)).body["limits"] == {}


async def test_an_unknown_client_is_not_found(api: Api, auth_stack: AuthStack) -> None:
    operator = {"x-api-key": auth_stack.operator}
    answer = await api("GET", "/clients/nobody", headers=operator)
    assert (answer.status, answer.body["code"]) == (404, "client-not-found")


async def test_each_limit_is_kept_under_its_own_name(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    limits = {name: number for number, name in enumerate(Limits.model_fields, 10)}
    operator = {"x-api-key": auth_stack.operator}
    path = f"/clients/{shop.id}"
    answer = await api("PATCH", path, json={"limits": limits}, headers=operator)
    assert (answer.status, answer.body["limits"]) == (200, limits)

"""Every route with every set of scopes, and what a key can give away."""

import asyncio
import json
from itertools import combinations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from server.access.route_access import SCOPES, Access
from server.app import ROUTES
from server.clients.key_routes import KEYS_MAX
from server.clients.token_routes import SECRETS_MAX
from tests.security.limits.limiting import one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made
from tests.support.waiting import until

ALL = ("admin", "notify", "read")
SETS = [frozenset(some) for size in (1, 2, 3) for some in combinations(ALL, size)]
NEEDED = {
    (route.method, route.path): frozenset(map(str, SCOPES[route.access]))
    for route in ROUTES
    if route.access is not Access.ANYONE
}
"""Scopes that each route needs; test_route_access.py looks whether the declarations are right."""
OPERATORS = {
    (route.method, route.path)
    for route in ROUTES
    if route.access in (Access.OPERATOR, Access.REGISTRATION)
}


async def keys_of(api: Api, client: Made) -> dict[frozenset[str], Made]:
    """A key of a client for every set of scopes, each known to the server that is asked."""
    found = {}
    for scopes in SETS:
        answer = await api(
            "POST",
            "/clients/me/keys",
            json={"name": "+".join(sorted(scopes)), "scopes": sorted(scopes)},
            headers=client.bearer,
        )
        assert answer.status == 201, answer
        key = found[scopes] = Made(client.id, answer.body["apiKey"])

        async def known(key: Made = key) -> bool:
            return (await api("GET", "/notifications", headers=key.bearer)).status != 401

        await until(known)
    return found


async def test_every_route_with_every_set_of_scopes(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    made = await keys_of(api, shop)
    for method, path in sorted(NEEDED):
        url = path.replace("{id}", "nobody").replace("{nid}", "none").replace("{user}", "nobody")
        # A list is no body of any of these: whoever is let in is told so, and nothing is done.
        body = {"json": [0]} if method in ("POST", "PUT", "PATCH") else {}
        for scopes, key in made.items():
            status = (await api(method, url, headers=key.bearer, **body)).status
            let_in = NEEDED[method, path] <= scopes and (method, path) not in OPERATORS
            assert (status != 403) is let_in, (method, path, sorted(scopes), status)
            assert status != 401
            assert status < 500


async def test_what_a_key_gives_away_it_has(api: Api, shop: Made) -> None:
    made = await keys_of(api, shop)
    listed = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"]
    ids = {frozenset(key["scopes"]): key["id"] for key in listed if "+" in key["name"]}
    ids |= {frozenset(key["scopes"]): key["id"] for key in listed if key["name"] in ALL}
    jwk = {
        **json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key())),
        "kid": "k",
    }
    everything = frozenset(ALL)
    for scopes, key in made.items():

        async def status(method: str, path: str, body: Any, key: Made = key) -> int:
            return int((await api(method, path, json=body, headers=key.bearer)).status)

        for given in SETS:
            good = "admin" in scopes and given <= scopes
            body = {"name": "child", "scopes": sorted(given)}
            assert await status("POST", "/clients/me/keys", body) == (201 if good else 403)
            if given == everything and scopes == everything:
                continue
            rotated = await status(
                "POST", f"/clients/me/keys/{ids[given]}/rotate", {"overlapS": 600}
            )
            assert rotated == (201 if good else 403), (sorted(scopes), sorted(given))
        whole = scopes == everything
        assert await status("PUT", "/clients/me/token-keys", {"keys": [jwk]}) == (
            200 if whole else 403
        )
        assert await status("POST", "/clients/me/token-secret/rotate", {}) == (
            201 if whole else 403
        )
        tokens = {"notify", "read"} <= scopes
        assert await status("POST", "/tokens", {"userId": "ann"}) == (201 if tokens else 403)
        assert await status("POST", "/tickets", {"userId": "ann"}) == (201 if tokens else 403)


async def test_a_client_is_made_with_the_scopes_that_are_asked_for(
    api: Api, auth_stack: AuthStack
) -> None:
    operator = Made("", auth_stack.operator)
    keys = await keys_of(api, operator)
    for by in (frozenset(ALL), frozenset({"admin"}), frozenset({"admin", "notify"})):
        for asked in (None, *SETS):
            body: dict[str, Any] = {"name": "new", "email": "n@example.com"}
            if asked is not None:
                body["scopes"] = sorted(asked)
            answer = await api("POST", "/clients", json=body, headers=keys[by].bearer)
            wanted = frozenset(ALL) if asked is None else asked
            assert answer.status == (201 if wanted <= by else 403), (by, asked, answer)
            if answer.status == 201 and by == frozenset(ALL):
                first = Made(answer.body["clientId"], answer.body["apiKey"])
                for path, scope in (
                    ("/clients/me/keys", "admin"),
                    ("/notifications", "read"),
                ):

                    async def known(path: str = path, first: Made = first) -> bool:
                        return (await api("GET", path, headers=first.bearer)).status != 401

                    await until(known)
                    got = await api("GET", path, headers=first.bearer)
                    assert (got.status == 200) == (scope in wanted)
    for scopes in ([], ["write"], "read", ["read"] * 4, [1]):
        body = {"name": "new", "email": "n@example.com", "scopes": scopes}
        answer = await api("POST", "/clients", json=body, headers=operator.bearer)
        assert answer.status == 422, (scopes, answer)


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


def test_the_command_line_makes_a_first_key_with_some_scopes(auth_stack: AuthStack) -> None:
    key = auth_stack.run(
        "server", "create-client", "--scopes", "notify,read", "till", "till@example.com"
    )

    async def look() -> None:
        async with Api(auth_stack) as api:
            made = Made("", key)

            async def known() -> bool:
                return (await api("GET", "/notifications", headers=made.bearer)).status == 200

            await until(known)
            assert (await api("GET", "/clients/me/keys", headers=made.bearer)).status == 403

    asyncio.run(look())
    for wrong in (
        ["--scopes", "write"],
        ["--scopes", ""],
        ["--admin", "--scopes", "read"],
    ):
        with pytest.raises(AssertionError, match="usage"):
            auth_stack.run("server", "create-client", *wrong, "till", "till@example.com")


async def test_dear_and_broken_token_keys_are_refused_and_the_others_kept_without_more(
    api: Api, shop: Made
) -> None:
    good = json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key()))

    async def put(*keys: Any) -> Any:
        body = {"keys": list(keys)}
        return await api("PUT", "/clients/me/token-keys", json=body, headers=shop.bearer)

    for bad, text in (
        ({**good, "kid": "k", "n": "f" * 2_731}, "2048 to 4096"),
        ({**good, "kid": "k", "e": "Aw"}, "65537"),
        ({**good, "kid": "a\u0000"}, "printable"),
        ({**good, "kid": "k" * 256}, "255"),
        ({**good, "kid": 1}, "text"),
        ({**good}, "text"),
    ):
        answer = await put(bad)
        assert (answer.status, text in answer.body["detail"]) == (422, True), answer
    assert (await put({**good, "kid": "k"}, {**good, "kid": "k"})).status == 422
    assert (await put(*[{**good, "kid": f"{n}"} for n in range(11)])).status == 422
    more = {"x5c": ["\u0000"], "note": "x" * 100_000, "key_ops": ["verify"]}
    answer = await put({**good, "kid": "k", "use": "sig", "alg": "RS256", **more})
    assert answer.status == 200, answer
    (kept,) = (await api("GET", "/clients/me/token-keys", headers=shop.bearer)).body["keys"]
    assert set(kept) == {"kty", "kid", "use", "alg", "n", "e"}


async def test_a_client_has_so_many_keys_and_secrets_however_it_gets_them(
    api: Api, shop: Made
) -> None:
    made = [
        await api(
            "POST", "/clients/me/token-secret/rotate", json={"overlapS": 60}, headers=shop.bearer
        )
        for _ in range(SECRETS_MAX)
    ]
    assert [answer.status for answer in made] == [201] * (SECRETS_MAX - 1) + [409]
    assert made[-1].body["code"] == "too-many-secrets"
    last = await api("POST", "/clients/me/token-secret/rotate", json={}, headers=shop.bearer)
    assert last.status == 201
    first = (await api("GET", "/clients/me/keys", headers=shop.bearer)).body["keys"][0]["id"]
    body = {"name": "k", "scopes": ["read"]}
    added = await asyncio.gather(
        *(
            api("POST", "/clients/me/keys", json=body, headers=shop.bearer)
            for _ in range(KEYS_MAX + 5)
        )
    )
    assert sorted(answer.status for answer in added) == [201] * (KEYS_MAX - 1) + [409] * 6
    path = f"/clients/me/keys/{first}/rotate"
    assert (await api("POST", path, json={"overlapS": 5}, headers=shop.bearer)).status == 409
    assert (await api("POST", path, json={}, headers=shop.bearer)).status == 201

"""Every route with every set of scopes, and what a key can give away."""

import json
from itertools import combinations
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from server.access.route_access import SCOPES, Access
from server.app import ROUTES
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

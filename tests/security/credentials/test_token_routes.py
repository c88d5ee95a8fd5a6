"""`server/clients/token_routes.py`: users' tokens, and what signs them."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from common.auth.tokens import ROOMS_MAX
from server.clients.token_routes import SECRETS_MAX
from tests.support.clients.api import Api
from tests.support.credentials import ROOM, AuthStack, Made
from tests.support.waiting import until


async def test_a_token_is_for_the_user_s_own_inbox(api: Api, shop: Made, bank: Made) -> None:
    answer = await api(
        "POST", "/tokens", json={"userId": "ann", "rooms": [1], "ttl": 60}, headers=shop.bearer
    )
    assert answer.status == 201, answer
    said = jwt.decode(answer.body["token"], options={"verify_signature": False})
    assert (said["iss"], said["sub"], said["rooms"]) == (shop.id, "ann", ["1"])
    ann = {"Authorization": f"Bearer {answer.body['token']}"}
    assert (await api("GET", "/users/ann/notifications", headers=ann)).status == 200
    for method, path in (
        ("GET", "/users/bob/notifications"),
        ("GET", "/notifications"),
        ("GET", "/users/ann"),
        ("GET", "/clients/me"),
    ):
        assert (await api(method, path, headers=ann)).status == 403, path
    for method, path, body in (("POST", "/notify", ROOM), ("POST", "/tokens", {"userId": "bob"})):
        assert (await api(method, path, headers=ann, json=body)).status == 403, path
    late = await api("POST", "/tokens", json={"userId": "a", "ttl": 10**9}, headers=shop.bearer)
    assert late.status == 422


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


async def test_a_client_has_so_many_secrets(api: Api, shop: Made) -> None:
    path = "/clients/me/token-secret/rotate"
    made = [
        await api("POST", path, json={"overlapS": 60}, headers=shop.bearer)
        for _ in range(SECRETS_MAX)
    ]
    assert [answer.status for answer in made] == [201] * (SECRETS_MAX - 1) + [409]
    assert made[-1].body["code"] == "too-many-secrets"
    assert (await api("POST", path, json={}, headers=shop.bearer)).status == 201


async def test_a_new_secret_signs_tokens_and_the_old_one_for_the_overlap_only(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    path = "/clients/me/token-secret/rotate"
    first = await api("POST", path, json={"overlapS": 0}, headers=shop.bearer)
    assert (first.status, first.body["algorithm"]) == (201, "HS256")
    assert first.headers["cache-control"] == "no-store"

    async def lets_in(secret: str) -> bool:
        claims = {"iss": shop.id, "sub": "ann", "exp": int(time.time()) + 60}
        bearer = {"Authorization": f"Bearer {jwt.encode(claims, secret, 'HS256')}"}
        return (await api("GET", "/users/ann/notifications", headers=bearer)).status == 200

    await until(lambda: lets_in(first.body["secret"]))
    second = await api("POST", path, json={"overlapS": 600}, headers=shop.bearer)
    await until(lambda: lets_in(second.body["secret"]))
    assert await lets_in(first.body["secret"])
    third = await api("POST", path, json={}, headers=shop.bearer)
    await until(lambda: lets_in(third.body["secret"]))
    assert not await lets_in(first.body["secret"])
    assert not await lets_in(second.body["secret"])


@pytest.mark.parametrize(
    "change",
    [
        {"userId": None},
        {"userId": ""},
        {"userId": True},
        {"ttl": 0},
        {"ttl": "60"},
        {"ttl": 10**9},
        {"rooms": ["r"] * (ROOMS_MAX + 1)},
        {"colour": "red"},
    ],
)
async def test_a_token_that_nobody_could_use_is_not_made(
    api: Api, shop: Made, change: dict[str, Any]
) -> None:
    body = {"userId": "ann", "rooms": ["1"], "ttl": 60, **change}
    answer = await api("POST", "/tokens", json=body, headers=shop.bearer)
    assert (answer.status, answer.body["code"]) == (422, "invalid"), answer

"""What is said of bodies that are wrong, on every route that has one, and of what came too late."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
import pytest

from common.redis.shards import Shards
from server.app import ROUTES
from server.openapi.document import openapi_document
from tests.support.clients.api import Api
from tests.support.processes.stack import Stack
from tests.support.waiting import until

KEYS: Final = Shards().only
BROADCAST: Final = {"type": "broadcast", "userId": 1, "message": "hi"}
GOOD: Final[dict[tuple[str, str], Any]] = {
    (route.method, route.path): next(iter(route.examples.values()))
    for route in ROUTES
    if route.body is not None
} | {("POST", "/notify"): BROADCAST}
"""A good body of each route that has one."""
NEEDS_NO_BODY: Final = ("POST", "/tickets")
"""A user's token says all; whoever shows none, as here, has to name the user."""
WORDS: Final = ("Input should", "Value error", "Field required", "pydantic", "msgspec", "ident")
"""What the libraries would say."""


@pytest.fixture(scope="module")
def validating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("bodies"), gateways=1, history=1) as stack:
        yield stack


@pytest.fixture
async def api(validating: Stack) -> AsyncIterator[Api]:
    async with Api(validating) as api:
        yield api


async def send(api: Api, route: tuple[str, str], body: bytes, **headers: str) -> Any:
    method, path = route
    return await api(
        method,
        path.replace("{id}", "nobody"),
        data=body,
        headers={"Content-Type": "application/json", **headers},
    )


@pytest.mark.parametrize("route", list(GOOD), ids=" ".join)
async def test_a_wrong_body_is_refused_in_our_words(api: Api, route: tuple[str, str]) -> None:
    good = GOOD[route]
    first = next(iter(good))
    deep = b'{"%b":%b}' % (first.encode(), b"[" * 5_000)
    text = json.dumps(good).encode()
    wrong: list[tuple[int, bytes]] = [
        (422 if route == NEEDS_NO_BODY else 400, b""),
        (400, b"{"),
        (400, b"{'a':1}"),
        (400, text + b"x"),
        (400, b"\xef\xbb\xbf" + text),
        (400, b'{"a":"\xff"}'),
        (400, deep),
        (400, b'{"%b":%b}' % (first.encode(), b"1" * 5_000)),
        (422, text[:-1] + b',"%b":%b}' % (first.encode(), json.dumps(good[first]).encode())),
        (422, text[:-1] + b',"colour":1}'),
        (422, rb'{"%b":"\ud800"}' % first.encode()),
        (422, b"null"),
        (422, b"5"),
        (422, b'"x"'),
        (422, b"{}" if route[0] == "POST" and first != "overlapS" else b"7"),
    ]
    wrong += [
        (status, b'{"%b":%b}' % (name.encode(), value))
        for name in good
        for status, value in (
            (400, b"NaN"),
            (400, b"-Infinity"),
            (422, b"true" if name != "disabled" else b"1"),
            (422, b'{"a":1,"a":2}' if name != "limits" else b'{"recipients":1,"recipients":1}'),
            (422, b"[[[{}]]]"),
            (422, b"1.5"),
            (422, b"1" + b"0" * 400),
            (422, b"-1" if name not in ("userId", "id") else b'"\\n"'),
            (422, b'"\\u0000"'),
        )
    ]
    for status, body in wrong:
        answer = await send(api, route, body)
        # A number that is not is found out after the others.
        odd = b"NaN" in body or b"Infinity" in body
        assert answer.status in ((400, 422) if odd else (status,)), (body[:80], answer)
        assert answer.headers["content-type"] == "application/problem+json"
        detail = json.dumps(answer.body)
        assert not any(word in detail for word in WORDS), answer.body
        assert answer.status == 400 or answer.body["errors"], answer.body


@pytest.mark.parametrize("route", list(GOOD), ids=" ".join)
async def test_what_may_be_left_out_may_be_null(api: Api, route: tuple[str, str]) -> None:
    schema = openapi_document(ROUTES)["components"]["schemas"]
    body = openapi_document(ROUTES)["paths"][route[1]][route[0].lower()]["requestBody"]
    named = body["content"]["application/json"]["schema"]
    if route[1] == "/notify":
        named = {"$ref": "#/components/schemas/BroadcastNotification"}
    model = schema[named["$ref"].rpartition("/")[2]]
    optional = set(model["properties"]) - set(model.get("required", ())) - {"message"}
    if route == NEEDS_NO_BODY:
        optional.remove("userId")
    bare = {name: value for name, value in GOOD[route].items() if name not in optional}
    without = await send(api, route, json.dumps(bare).encode())
    nulls = await send(api, route, json.dumps(bare | dict.fromkeys(optional)).encode())
    # In open mode without a client of one's own some of these have nothing to do.
    assert without.status in (200, 201, 202, 404, 409), without
    assert nulls.status in (200, without.status), nulls


async def test_what_has_passed_is_refused_and_what_is_to_come_is_not(api: Api) -> None:
    now = datetime.now(UTC)
    for moment, status in (
        (now - timedelta(seconds=1), 422),
        (now - timedelta(days=1), 422),
        (datetime(1, 1, 1, tzinfo=UTC), 422),
        (now + timedelta(seconds=60), 202),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), 202),
    ):
        for batch in (False, True):
            body: Any = BROADCAST | {"expiresAt": moment.isoformat()}
            if batch:
                body = [BROADCAST, body]
            answer = await api("POST", "/notify", json=body)
            assert answer.status == status, answer
            if status == 422:
                (error,) = answer.body["errors"]
                assert error["pointer"] == ("/1/expiresAt" if batch else "/expiresAt")
                assert "has passed" in error["detail"]
    for text in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        answer = await api("POST", "/notify", json=BROADCAST | {"expiresAt": text})
        assert answer.status == (422 if text < "5" else 202), answer
        key = {"name": "k", "scopes": ["read"], "expiresAt": text}
        assert (await api("POST", "/clients/me/keys", json=key)).status == 422


async def test_numbers_are_numbers_and_a_key_may_end(validating: Stack, api: Api) -> None:
    made = await api("POST", "/clients", json={"name": "n", "email": "n@example.com"})
    mine = {"x-api-key": made.body["apiKey"]}

    async def known() -> bool:
        return (await api("GET", "/clients/me", headers=mine)).status == 200

    await until(known)
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for path, field, rest, statuses in (
        ("/tokens", "ttl", {"userId": 1}, {60: 201, 61.0: 201, "60": 422, True: 422, 1.5: 422}),
        ("/tickets", "ttl", {"userId": 1}, {60: 201, 61.0: 201, "60": 422, True: 422, 1.5: 422}),
        ("/clients/me/keys", "expiresAt", {"name": "k", "scopes": ["read"]},
         {soon: 201, "9999-12-31T23:59:59.999999Z": 201, "soon": 422, 1_900_000_000: 422,
          True: 422}),
        ("/clients/me/token-secret/rotate", "overlapS", {}, {0: 201, 1.0: 201, "0": 422}),
    ):  # fmt: skip
        for value, status in statuses.items():
            answer = await api("POST", path, json={**rest, field: value}, headers=mine)
            assert answer.status == status, (path, value, answer)
    for disabled in ("yes", 1, "true"):
        path = f"/clients/{made.body['clientId']}"
        assert (await api("PATCH", path, json={"disabled": disabled})).status == 422


async def test_a_repeat_after_its_time_is_answered_as_the_first_one_was(
    api: Api, validating: Stack
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    soon = datetime.now(UTC) + timedelta(seconds=1)
    body = BROADCAST | {"expiresAt": soon.isoformat()}
    first = await api("POST", "/notify", json=body, headers=key)
    assert first.status == 202, first
    await asyncio.sleep(1.2)
    again = await api("POST", "/notify", json=body, headers=key)
    assert (again.status, again.body) == (202, first.body)
    other = await api("POST", "/notify", json=body | {"userId": 2}, headers=key)
    assert (other.status, other.body["code"]) == (422, "idempotency-key-reused")
    new = {"Idempotency-Key": str(uuid.uuid4())}
    late = await api("POST", "/notify", json=body, headers=new)
    assert (late.status, late.body["code"]) == (422, "invalid")
    # It used the key up for nothing.
    fresh = await api("POST", "/notify", json=BROADCAST, headers=new)
    assert fresh.status == 202, fresh


async def test_what_is_pushed_by_hand_may_be_null_and_late(api: Api, validating: Stack) -> None:
    text = BROADCAST | dict.fromkeys(("data", "email", "priority", "expiresAt", "target"))
    ids = []
    for lane in ("critical", "high", "low"):
        ids.append(str(uuid.uuid4()))
        validating.valkey.command("LPUSH", KEYS.door(lane), json.dumps(text | {"id": ids[-1]}))
    expired = validating.push_expired("room", "1")

    async def states() -> list[str]:
        found = []
        for one in (*ids, expired):
            answer = await api("GET", f"/notifications/{one}")
            found.append(answer.body.get("status"))
        return found

    async def settled() -> bool:
        return await states() == ["published"] * 3 + ["expired"]

    await until(settled)
    stories = [(await api("GET", f"/notifications/{one}")).body for one in ids]
    assert [story["priority"] for story in stories] == ["critical", "high", "low"]


async def test_both_ways_in_say_the_same_of_a_body(api: Api, validating: Stack) -> None:
    async with aiohttp.ClientSession() as session:
        for body in (b"{", b"[]", b'{"type":"room","userId":1}', b'{"userId":1,"userId":2}'):
            said = []
            for more in ({}, {"Connection": "close"}):
                async with session.post(
                    f"{validating.http_urls[0]}/notify",
                    data=body,
                    headers={"Content-Type": "application/json", **more},
                ) as answer:
                    said.append((answer.status, await answer.json(content_type=None)))
            assert said[0] == said[1]

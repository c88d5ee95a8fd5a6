"""What one client may send at most."""

import asyncio
import json
import math
import time

import aiohttp
import pytest

from tests.security.limits.limiting import ROOM, ask, limit, well_before_midnight
from tests.support.clients.api import Api
from tests.support.clients.http_wire import Wire, request
from tests.support.credentials import AuthStack, Made, token_of


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_quota_is_spent_to_the_end_over_two_servers_and_not_beyond(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made, chunked: bool
) -> None:
    quota, sent = (200, 300) if chunked else (7, 30)
    # So many requests that the headers tell of the quota, of which less is left.
    await limit(api, auth_stack, shop, notificationsPerDay=quota, requestsPerS=1_000_000)
    await well_before_midnight()
    async with aiohttp.ClientSession() as session:
        urls = auth_stack.http_urls[:2]
        answers = await asyncio.gather(*(ask(session, urls[n % 2], shop) for n in range(sent)))
        accepted = [one for one in answers if one[0] == 202]
        # What one server has at hand and the other one lacks is a chunk at most.
        spare = quota // 20 if chunked else 0
        assert quota - spare <= len(accepted) <= quota
        for status, headers, body in answers:
            assert headers["ratelimit-limit"] == str(quota)
            if status == 202:
                assert 0 <= int(headers["ratelimit-remaining"]) < quota
                continue
            assert (status, body["code"]) == (429, "quota-exceeded")
            assert headers["ratelimit-remaining"] == "0"
            assert headers["content-type"] == "application/problem+json"
            to_midnight = 86_400 - time.time() % 86_400
            assert abs(int(headers["retry-after"]) - to_midnight) < 60
            assert headers["ratelimit-reset"] == headers["retry-after"]
        # Another client has its own.
        assert (await ask(session, urls[0], bank))[0] == 202


async def test_a_batch_counts_as_its_notifications_and_is_refused_as_a_whole(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    await limit(api, auth_stack, shop, notificationsPerDay=10)
    url = auth_stack.http_urls[0]
    await well_before_midnight()
    async with aiohttp.ClientSession() as session:
        for count, status, left in (
            (6, 202, "4"),
            (5, 429, "4"),
            (11, 429, "4"),
            (4, 202, "0"),
        ):
            answer = await ask(session, url, shop, [ROOM] * count)
            assert (answer[0], answer[1]["ratelimit-remaining"]) == (status, left), count


async def test_what_is_not_queued_is_not_counted(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    await limit(api, auth_stack, shop, notificationsPerDay=3)
    await well_before_midnight()
    for body, status in ((ROOM, 202), (ROOM, 202), ({**ROOM, "target": "2"}, 422)):
        headers = {**shop.bearer, "Idempotency-Key": "k"}
        answer = await api("POST", "/notify", json=body, headers=headers)
        assert answer.status == status
    for status in (202, 202, 429):
        assert (await api("POST", "/notify", json=ROOM, headers=shop.bearer)).status == status


@pytest.mark.parametrize("path", ["/notify", "/clients/me"])
async def test_requests_per_second_are_bounded_on_every_way_in(
    api: Api, auth_stack: AuthStack, shop: Made, path: str
) -> None:
    most = 5
    await limit(api, auth_stack, shop, requestsPerS=most)
    method, body = ("POST", ROOM) if path == "/notify" else ("GET", None)

    async def one(session: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, str], str]:
        async with session.request(
            method, f"{url}{path}", json=body, headers=shop.bearer
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, await response.text()

    async with aiohttp.ClientSession() as session:
        began = time.time()
        answers = await asyncio.gather(
            *(one(session, auth_stack.http_urls[n % 2]) for n in range(100))
        )
        windows = math.floor(time.time()) - math.floor(began) + 1
        statuses = [status for status, _, _ in answers]
        assert set(statuses) == {200 if method == "GET" else 202, 429}
        assert most <= 100 - statuses.count(429) <= windows * most
        for status, headers, text in answers:
            if status == 429:
                assert json.loads(text)["code"] == "rate-limited"
                assert headers["ratelimit-limit"] == str(most)
                assert (headers["ratelimit-remaining"], headers["retry-after"]) == ("0", "1")
        await asyncio.sleep(1)
        assert (await one(session, auth_stack.http_urls[0]))[0] in (200, 202)


def _wires(key: str, token: str) -> dict[str, tuple[int, bytes]]:
    """Requests that are refused, with their status, on both ways in."""
    body = json.dumps(ROOM).encode()

    def ask(
        credentials: str, start: str = "POST /notify", *more: str, content_type: str = "json"
    ) -> bytes:
        lines = [f"{start} HTTP/1.1", "Host: x", credentials, f"Content-Length: {len(body)}",
                 f"Content-Type: application/{content_type}", *more, "", ""]  # fmt: skip
        return "\r\n".join(lines).encode() + body

    reader, user = f"x-api-key: {key}", f"Authorization: Bearer {token}"
    return {
        "no scope": (403, ask(reader)),
        "no scope, long way": (403, ask(reader, "POST /notify", "Origin: https://a.example")),
        "a user's token": (403, ask(user)),
        "a user's token, long way": (403, ask(user, "POST /users")),
        "another's inbox": (403, ask(user, "GET /users/bob/notifications")),
        "unknown path": (404, ask(reader, "GET /nothing")),
        "wrong method": (405, ask(reader, "PUT /notify")),
        "an encoding": (415, ask(reader, "POST /nothing", "Content-Encoding: gzip")),
    }


async def test_what_is_refused_counts_as_much_as_what_is_done(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    made = await api(
        "POST",
        "/clients/me/keys",
        json={"name": "reader", "scopes": ["read"]},
        headers=shop.bearer,
    )
    assert made.status == 201
    token = await token_of(api, shop)
    port = auth_stack.ports["server-1"]
    await limit(api, auth_stack, shop, requestsPerS=5)
    for name, (status, data) in _wires(made.body["apiKey"], token).items():
        await asyncio.sleep(1)
        began = time.time()
        async with Wire(port) as wire:
            await wire.send(data * 60)
            found = [(await wire.reply()).status for _ in range(60)]
        windows = math.floor(time.time()) - math.floor(began) + 1
        assert set(found) == {status, 429}, name
        assert found.count(status) <= windows * 5, name
    async with aiohttp.ClientSession() as session:
        assert (await ask(session, auth_stack.http_urls[0], bank))[0] == 202


@pytest.mark.parametrize("path", ["/notify", "/users/1", "/nothing"])
async def test_invented_credentials_are_401_on_any_path(auth_stack: AuthStack, path: str) -> None:
    async with Wire(auth_stack.ports["server-1"]) as wire:
        await wire.send(request(b"{}", "x-api-key: rk_invented", path=path))
        assert (await wire.reply()).status == 401


async def test_what_is_fanned_out_is_bounded_by_targets_times_bytes(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await limit(api, auth_stack, shop, fanOutBytesPerS=1_000_000)
    url = auth_stack.http_urls[0]
    wide = {"type": "room", "userId": 1, "target": list(range(20)), "message": "x" * 30_000}
    async with aiohttp.ClientSession() as session:
        began = time.time()
        answers = [await ask(session, url, shop, wide) for _ in range(8)]
        seconds = int(time.time()) - int(began) + 1
        accepted = [one for one in answers if one[0] == 202]
        refused = [one for one in answers if one[0] != 202]
        # One and no second one fits into each second.
        assert 1 <= len(accepted) <= seconds
        for status, headers, body in refused:
            assert (status, body["code"]) == (429, "fan-out-limited")
            assert headers["retry-after"] == "1"
        if seconds < len(answers):
            assert refused
        # Small ones go on, and so do those of another client.
        assert (await ask(session, url, shop, {**wide, "message": "x"}))[0] == 202
        assert (await ask(session, url, bank, wide))[0] == 202
        # One that is larger by itself takes a second, and is not refused for ever.
        wider = {**wide, "target": list(range(100))}
        async with asyncio.timeout(20):
            while (await ask(session, url, shop, wider))[0] != 202:
                await asyncio.sleep(0.05)


async def test_recipients_and_message_size_are_bounded(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await limit(api, auth_stack, shop, recipients=3, messageMaxBytes=10)
    pair = {**ROOM, "target": ["1", "2"]}
    for body, pointer in (
        ({**ROOM, "target": ["1", "2", "3"]}, None),
        ({**ROOM, "target": ["1", "2", "3", "4"]}, "/target"),
        ([ROOM, pair], None),
        ([pair, pair], "/1/target"),
        ({**ROOM, "message": "é" * 5}, None),
        ({**ROOM, "message": "é" * 5 + "x"}, "/message"),
        ([ROOM, {**ROOM, "data": {"a": "long"}}], "/1/data"),
    ):
        answer = await api("POST", "/notify", json=body, headers=shop.bearer)
        if pointer is None:
            assert answer.status == 202, body
        else:
            assert answer.status == 422, body
            assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
        assert (await api("POST", "/notify", json=body, headers=bank.bearer)).status == 202

"""Tickets: bought with a token or a key, shown in the URL of a stream or a socket, once."""

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from server.clients.ticket_issuer import USER_TICKETS_MAX
from tests.security.credentials.ticket_use import BUYERS, WAYS, bought, buy, heard, stream, use
from tests.security.limits.limiting import one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client, token_of
from tests.support.waiting import until


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", BUYERS)
async def test_a_ticket_lets_its_user_in_once(
    api: Api, auth_stack: AuthStack, shop: Made, by: str, way: str
) -> None:
    url = auth_stack.ws_urls[0]
    ticket = await bought(api, shop, by=by)
    assert await use(url, ticket, way) == "registered"
    for again in WAYS:
        assert await use(url, ticket, again) == "ticket-not-accepted"
    for text in ("", "x", "rt_" + "A" * 43, shop.key, await token_of(api, shop)):
        assert await use(url, text, way) == "ticket-not-accepted"


async def test_what_a_ticket_opens_hears_its_user_and_rooms(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    ticket = await bought(api, shop)
    async with stream(auth_stack.ws_urls[0], ticket, userId="ann", room="1") as (_, events):
        _, registered = await anext(events)
        assert set(registered["channels"]) == {"user:ann", "room:1", "broadcast"}
        sent = []
        for target in ({"type": "private", "target": "ann"}, {"type": "room", "target": "1"}):
            body = {"userId": 1, "message": "hi", **target}
            answer = await api("POST", "/notify", json=body, headers=shop.bearer)
            sent.append(answer.body["id"])
        assert {(await anext(events))[1]["id"] for _ in sent} == set(sent)


@pytest.mark.parametrize("by", BUYERS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_ticket_allows_what_was_allowed_and_no_more(
    api: Api, auth_stack: AuthStack, shop: Made, by: str, way: str
) -> None:
    url = auth_stack.ws_urls[0]
    assert await use(url, await bought(api, shop, by=by), way, user="bob") == "forbidden"
    if way == "stream":
        async with stream(url, await bought(api, shop, by=by), userId="ann", room="2") as (one, _):
            assert one.status == 403
        return
    ticket = await bought(api, shop, by=by)
    async with connect(f"{url}?ticket={ticket}&x=1", compression=None, proxy=None) as socket:
        for body, code in (
            ({"userId": "ann", "room": "2"}, "forbidden"),
            ({"userId": "ann", "token": "x"}, "unauthorized"),
        ):
            await socket.send(json.dumps(body))
            assert (await heard(socket))["code"] == code
        await socket.send(json.dumps({"userId": "ann"}))
        assert (await heard(socket))["type"] == "registered"
        await socket.send(json.dumps({"action": "join", "room": "2"}))
        assert (await heard(socket))["code"] == "forbidden"


async def test_of_two_gateways_that_are_shown_a_ticket_at_once_one_takes_it(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    async with one_more(auth_stack, "gateway") as name:
        urls = [auth_stack.ws_urls[0], f"ws://127.0.0.1:{auth_stack.ports[name]}/"]
        # Either of them knows the client.
        for url in urls:

            async def known(url: str = url) -> bool:
                return await use(url, await bought(api, shop)) == "registered"

            await until(known)
        for _ in range(15):
            ticket = await bought(api, shop)
            outcomes = await asyncio.gather(
                *(use(url, ticket, way) for url in urls for way in WAYS for _ in range(2))
            )
            assert sorted(outcomes) == ["registered", *["ticket-not-accepted"] * 7]


async def test_a_ticket_survives_its_gateway_and_its_use_does_too(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    async with one_more(auth_stack, "gateway") as name:
        url = f"ws://127.0.0.1:{auth_stack.ports[name]}/"
        used, unused = await bought(api, shop), await bought(api, shop)
        assert await use(url, used) == "registered"
        await asyncio.to_thread(auth_stack.restart, name)
        assert await use(url, used) == "ticket-not-accepted"
        assert await use(url, unused) == "registered"


async def test_a_ticket_expires(api: Api, auth_stack: AuthStack, shop: Made) -> None:
    async with (
        one_more(auth_stack, "server", TICKET_TTL_S="1") as name,
        aiohttp.ClientSession() as session,
    ):
        url = f"{auth_stack.url(name)}/tickets"
        body = {"userId": "ann", "rooms": ["1"]}
        for way in WAYS:
            began = time.time()
            async with session.post(url, json=body, headers=shop.bearer) as answer:
                assert answer.status == 201, await answer.text()
                assert answer.headers["Cache-Control"] == "no-store"
                made = await answer.json()
            ends = datetime.fromisoformat(made["expiresAt"]).timestamp()
            assert began + 0.99 <= ends <= time.time() + 1
            await asyncio.sleep(1.2)
            outcome = await use(auth_stack.ws_urls[0], made["ticket"], way)
            assert outcome == "ticket-not-accepted"


@pytest.mark.parametrize("by", BUYERS)
async def test_a_ticket_ends_with_what_bought_it(
    api: Api, auth_stack: AuthStack, shop: Made, by: str
) -> None:
    url = auth_stack.ws_urls[0]
    # The secret that its token is signed with.
    tickets = [await bought(api, shop, by=by) for _ in WAYS]
    answer = await api("POST", "/clients/me/token-secret/rotate", json={}, headers=shop.bearer)
    assert answer.status == 201, answer
    await asyncio.sleep(1.5)
    for way, ticket in zip(WAYS, tickets, strict=True):
        assert await use(url, ticket, way) == "ticket-not-accepted"
    # The time that its token has, and its leeway of a second.
    tickets = [await bought(api, shop, by=by, ttl=1) for _ in WAYS]
    await asyncio.sleep(3.2)
    for way, ticket in zip(WAYS, tickets, strict=True):
        assert await use(url, ticket, way) == "ticket-not-accepted"
    # The client.
    tickets = [await bought(api, shop, by=by) for _ in WAYS]
    await api(
        "PATCH", f"/clients/{shop.id}", json={"disabled": True},
        headers={"x-api-key": auth_stack.operator},
    )  # fmt: skip
    await asyncio.sleep(1.5)
    for way, ticket in zip(WAYS, tickets, strict=True):
        assert await use(url, ticket, way) == "ticket-not-accepted"


@pytest.mark.parametrize("by", BUYERS)
async def test_what_a_ticket_opened_ends_with_the_token(
    api: Api, auth_stack: AuthStack, shop: Made, by: str
) -> None:
    url = auth_stack.ws_urls[0]
    ticket, other = [await bought(api, shop, by=by, ttl=2) for _ in WAYS]
    async with (
        stream(url, ticket, userId="ann") as (_, events),
        connect(f"{url}?ticket={other}", compression=None, proxy=None) as socket,
    ):
        assert (await anext(events))[0] == "registered"
        await socket.send(json.dumps({"userId": "ann"}))
        assert (await heard(socket))["type"] == "registered"
        name, reason = await anext(events)
        assert (name, reason["code"], reason["comeBack"]) == ("close", 4503, False)
        with pytest.raises(ConnectionClosed):
            await heard(socket)
        assert socket.close_code == 4503


async def key_of(api: Api, client: Made, **more: Any) -> tuple[str, Made]:
    """Another key of a client: its id, and the client with it."""
    body = {"name": "tickets", "scopes": ["notify", "read"], **more}
    answer = await api("POST", "/clients/me/keys", json=body, headers=client.bearer)
    assert answer.status == 201, answer
    made = Made(client.id, answer.body["apiKey"])
    # The gateways know it as soon as the servers do, or half a second later.
    await until(lambda: bought_by(api, made))
    await asyncio.sleep(1)
    return answer.body["id"], made


async def bought_by(api: Api, client: Made) -> bool:
    answer = await api("POST", "/tickets", json={"userId": "ann"}, headers=client.bearer)
    return answer.status == 201


async def test_a_key_that_is_revoked_ends_its_tickets_and_what_they_opened(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    url = auth_stack.ws_urls[0]
    key_id, key = await key_of(api, shop)
    open_one, other, unused, by_shop = [
        await bought(api, one, by="key") for one in (key, key, key, shop)
    ]
    fresh = await token_of(api, shop)
    async with (
        stream(url, open_one, userId="ann") as (_, events),
        stream(url, by_shop, userId="ann") as (_, stays),
        connect(f"{url}?ticket={other}", compression=None, proxy=None) as socket,
    ):
        assert (await anext(events))[0] == (await anext(stays))[0] == "registered"
        await socket.send(json.dumps({"userId": "ann"}))
        assert (await heard(socket))["type"] == "registered"
        # A token of its own counts for itself from here on.
        await socket.send(json.dumps({"action": "refresh", "token": fresh}))
        assert (await heard(socket))["type"] == "refreshed"
        answer = await api("DELETE", f"/clients/me/keys/{key_id}", headers=shop.bearer)
        assert answer.status == 204, answer
        name, reason = await anext(events)
        assert (name, reason["code"]) == ("close", 4503)
        await until(lambda: is_refused(url, unused))
        sent = await api(
            "POST", "/notify",
            json={"type": "private", "userId": 1, "target": "ann", "message": "still there"},
            headers=shop.bearer,
        )  # fmt: skip
        assert (await anext(stays))[1]["id"] == sent.body["id"]
        assert (await heard(socket))["id"] == sent.body["id"]


async def is_refused(url: str, ticket: str) -> bool:
    return await use(url, ticket) == "ticket-not-accepted"


async def test_a_key_that_ends_ends_what_its_tickets_opened(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    url = auth_stack.ws_urls[0]
    key_id, key = await key_of(api, shop)
    ticket, unused = [await bought(api, key, by="key") for _ in WAYS]
    async with stream(url, ticket, userId="ann") as (_, events):
        assert (await anext(events))[0] == "registered"
        began = time.monotonic()
        answer = await api(
            "POST", f"/clients/me/keys/{key_id}/rotate", json={"overlapS": 3}, headers=shop.bearer
        )
        assert answer.status == 201, answer
        name, reason = await anext(events)
        assert (name, reason["code"]) == ("close", 4503)
        assert time.monotonic() - began > 2
    assert await is_refused(url, unused)


async def test_a_request_that_is_refused_anyway_uses_up_no_ticket(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    ticket = await bought(api, shop)
    bearer = {"Authorization": f"Bearer {await token_of(api, shop)}"}
    async with one_more(auth_stack, "gateway", ALLOWED_ORIGINS="https://a.example") as name:
        url = f"http://127.0.0.1:{auth_stack.ports[name]}/"
        async with aiohttp.ClientSession() as session:
            for query, headers, status in (
                (f"userId=ann&ticket={ticket}&ticket={ticket}", {}, 400),
                (f"userId=ann&ticket={ticket}&x=1", {}, 400),
                (f"ticket={ticket}", {}, 400),
                (f"userId=ann&ticket={ticket}", bearer, 401),
                (f"userId=ann&ticket={ticket}", {"Origin": "https://evil.example"}, 403),
            ):
                async with session.get(f"{url}events?{query}", headers=headers) as answer:
                    assert answer.status == status, query
            socket_url = f"ws{url[4:]}?ticket={ticket}"
            for more, status in (
                ({"additional_headers": bearer}, 401),
                ({"origin": Origin("https://evil.example")}, 403),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(socket_url, proxy=None, **more)
                assert refused.value.response.status_code == status
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{socket_url}&ticket={ticket}", proxy=None)
            assert refused.value.response.status_code == 401
            # Its page may read what became of it.
            headers = {"Origin": "https://a.example"}
            for status in (200, 401):
                query = f"userId=ann&ticket={ticket}"
                async with session.get(f"{url}events?{query}", headers=headers) as answer:
                    assert answer.status == status
                    assert answer.headers["Access-Control-Allow-Origin"] == headers["Origin"]


async def test_a_user_who_floods_is_refused_and_others_go_on(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    tokens = {user: await token_of(api, shop, user) for user in ("ann", "bob")}
    answers = [await buy(api, tokens["ann"]) for _ in range(USER_TICKETS_MAX + 5)]
    assert [one.status for one in answers] == [201] * USER_TICKETS_MAX + [429] * 5
    refused = answers[-1]
    assert refused.body["code"] == "too-many-tickets"
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert (await buy(api, tokens["bob"])).status == 201
    # What is used makes room.
    assert await use(auth_stack.ws_urls[0], answers[0].body["ticket"]) == "registered"
    assert (await buy(api, tokens["ann"])).status == 201
    assert (await buy(api, tokens["ann"])).status == 429
    async with (
        one_more(auth_stack, "server", CLIENT_MAX_TICKETS=str(USER_TICKETS_MAX + 3)) as name,
        aiohttp.ClientSession() as session,
    ):
        statuses: dict[str, list[int]] = {shop.id: [], bank.id: []}
        for client in (shop, bank):
            for n in range(4):
                body = {"userId": f"user{n}"}
                url = f"{auth_stack.url(name)}/tickets"
                async with session.post(url, json=body, headers=client.bearer) as answer:
                    statuses[client.id].append(answer.status)
        assert statuses[shop.id] == [201, 201, 429, 429]
        assert statuses[bank.id] == [201] * 4


@pytest.mark.parametrize("way", WAYS)
async def test_who_guesses_tickets_is_not_heard_for_a_while(
    api: Api, auth_stack: AuthStack, shop: Made, way: str
) -> None:
    good = await bought(api, shop)
    async with one_more(auth_stack, "gateway", FAILED_ATTEMPTS_PER_MINUTE="4") as name:
        url = f"ws://127.0.0.1:{auth_stack.ports[name]}/"
        for ticket in ("x", "rt_" + "A" * 43, "rt_" + "B" * 43, ""):
            assert await use(url, ticket, way) == "ticket-not-accepted"
        # A good one is not looked at either, and stays good.
        async with stream(url, good, userId="ann") as (answer, _):
            assert answer.status == 429
            assert (await answer.json(content_type=None))["code"] == "too-many-failures"
    assert await use(auth_stack.ws_urls[0], good) == "registered"


async def test_tickets_and_tokens_are_in_no_log_and_not_in_redis(
    tmp_path: Path,
) -> None:
    with AuthStack(
        tmp_path, database=True, workers=0, AUTH_MODE="required", LOG_LEVEL="DEBUG"
    ) as stack:
        async with Api(stack) as api:
            shop = await make_client(api, stack)
            token = await token_of(api, shop)
            answer = await buy(api, token)
            used, unused = answer.body["ticket"], (await buy(api, token)).body["ticket"]
            for way in WAYS:
                await use(stack.ws_urls[0], used, way)
                await use(stack.ws_urls[0], "rt_" + "Q" * 43, way)
                await use(stack.ws_urls[0], unused, way, user="bob")
            await use(stack.ws_urls[0], (await buy(api, token)).body["ticket"])
            kept = await api("POST", "/tickets", json={"userId": "zoë"}, headers=shop.bearer)
            async with stack.valkey.client() as redis:
                keys = [key async for key in redis.scan_iter("*ticket*")]
                assert any(":ticket:" in key for key in keys)
            secrets = [token, used, unused, "Q" * 43, kept.body["ticket"]]
            await asyncio.to_thread(check_files, tmp_path, secrets)


def check_files(folder: Path, secrets: list[str]) -> None:
    """Look for secrets in whatever a stack wrote: logs, and Valkey's append-only file."""
    files = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"listening" in files
    assert b":ticket:" in files
    for secret in secrets:
        for part in (secret.removeprefix("rt_"), secret.rpartition(".")[2]):
            assert part.encode() not in files


async def test_without_redis_no_ticket_is_given_or_taken_and_it_says_so(tmp_path: Path) -> None:
    with AuthStack(tmp_path, database=True, workers=0, AUTH_MODE="required") as stack:
        async with Api(stack) as api:
            shop = await make_client(api, stack)
            token, ticket = await token_of(api, shop), await bought(api, shop)
            stack.valkey.freeze()
            try:
                answer = await buy(api, token)
                assert (answer.status, answer.body["code"]) == (503, "redis-away"), answer
                assert answer.headers["retry-after"]
                async with stream(stack.ws_urls[0], ticket, userId="ann") as (refused, _):
                    assert refused.status == 503
                    assert (await refused.json(content_type=None))["code"] == "unavailable"
                    assert refused.headers["Retry-After"]
                with pytest.raises(InvalidStatus) as failed:
                    await connect(f"{stack.ws_urls[0]}?ticket={ticket}", proxy=None)
                assert failed.value.response.status_code == 503
            finally:
                stack.valkey.thaw()

            async def works_again() -> bool:
                answer = await buy(api, token)
                return (
                    answer.status == 201
                    and await use(stack.ws_urls[0], answer.body["ticket"]) == "registered"
                )

            await until(works_again)


async def test_a_full_redis_gives_no_ticket_and_takes_those_that_there_are(tmp_path: Path) -> None:
    with AuthStack(tmp_path, database=True, workers=0, AUTH_MODE="required") as stack:
        async with Api(stack) as api:
            shop = await make_client(api, stack)
            token = await token_of(api, shop)
            tickets = [await bought(api, shop) for _ in WAYS]
            stack.valkey.command("CONFIG", "SET", "maxmemory", 1)
            # From the first request on, whether or not the server has looked yet.
            answer = await buy(api, token)
            assert (answer.status, answer.body["code"]) == (503, "redis-nearly-full"), answer
            for way, ticket in zip(WAYS, tickets, strict=True):
                assert await use(stack.ws_urls[0], ticket, way) == "registered"
            stack.valkey.command("CONFIG", "SET", "maxmemory", 0)

            async def is_given() -> bool:
                return (await buy(api, token)).status == 201

            await until(is_given)

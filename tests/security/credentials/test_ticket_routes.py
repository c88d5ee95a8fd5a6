"""`server/clients/ticket_routes.py`: who may buy a ticket, for whom, and what refuses it."""

import asyncio
from typing import Any

import aiohttp

from tests.security.credentials.ticket_use import WAYS, bought, buy, stream, use
from tests.security.limits.limiting import limit, one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, token_of
from tests.support.processes.stack import Stack


async def test_whose_ticket_it_is_follows_from_what_is_shown(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    token = await token_of(api, shop)
    own: list[tuple[Any, int]] = [
        ({}, 201),
        ({"userId": "ann"}, 201),
        ({"userId": None, "rooms": None}, 201),
        ({"userId": "bob"}, 403),
        ({"rooms": ["2"]}, 422),
        ({"ttl": 5}, 422),
        ({"colour": "red"}, 422),
        ([], 422),
    ]
    for body, status in own:
        answer = await buy(api, token, json=body)
        assert answer.status == status, (body, answer)
    # A page's `fetch` with no body at all.
    assert (await buy(api, token)).status == 201
    for body in ({}, {"userId": "ann", "ttl": 10**9}):
        answer = await api("POST", "/tickets", json=body, headers=shop.bearer)
        assert answer.status == 422, (body, answer)
    for headers in ({}, {"Authorization": "Bearer x"}, {"x-api-key": "rk_x"}):
        assert (await api("POST", "/tickets", headers=headers)).status == 401
    # The same user of another client hears nothing of this one's.
    ticket = await bought(api, bank)
    async with stream(auth_stack.ws_urls[0], ticket, userId="ann") as (_, events):
        await anext(events)
        hi = {"type": "private", "userId": 1, "target": "ann", "message": "hi"}
        await api("POST", "/notify", json=hi, headers=shop.bearer)
        sent = await api("POST", "/notify", json=hi, headers=bank.bearer)
        assert (await anext(events))[1]["id"] == sent.body["id"]


async def test_a_page_of_a_listed_origin_may_buy_and_read_every_refusal(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    origin = "https://a.example"
    token = await token_of(api, shop)
    async with (
        one_more(auth_stack, "server", ALLOWED_ORIGINS=origin) as name,
        aiohttp.ClientSession() as session,
    ):
        url = f"{auth_stack.url(name)}/tickets"
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        async with session.options(url, headers=asked) as answer:
            assert answer.status == 204
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        for credentials, status in (({"Authorization": f"Bearer {token}"}, 201), ({}, 401)):
            async with session.post(url, headers={"Origin": origin, **credentials}) as answer:
                assert answer.status == status
                assert answer.headers["Access-Control-Allow-Origin"] == origin
            strange = {"Origin": "https://evil.example", **credentials}
            async with session.post(url, headers=strange) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers


async def test_buying_counts_as_a_request_of_the_client(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    token = await token_of(api, shop)
    await limit(api, auth_stack, shop, requestsPerS=5)
    answers = await asyncio.gather(*(buy(api, token) for _ in range(30)))
    refused = [one for one in answers if one.status == 429]
    assert refused
    assert {one.body["code"] for one in refused} == {"rate-limited"}


async def test_in_open_mode_nobody_needs_a_ticket_and_a_wrong_one_is_wrong(stack: Stack) -> None:
    async with Api(stack) as api:
        answer = await api("POST", "/tickets", json={"userId": "ann"})
        assert (answer.status, answer.body["code"]) == (409, "no-client")
    for way in WAYS:
        assert await use(stack.ws_urls[0], "rt_" + "A" * 43, way) == "ticket-not-accepted"

"""Receipts from sockets: counted by id, written once, and never at the cost of notifications."""

import asyncio
from typing import Any
from uuid import uuid4

from tests.client import Client
from tests.sender import post
from tests.stack import KEYS, Stack
from tests.waiting import until

NOTIFICATION = {"type": "private", "userId": 1, "target": "v", "message": "x"}


def invented(count: int, start: int = 0) -> list[str]:
    return [f"{n:012x}" for n in range(start, start + count)]


async def ask(client: Client, action: str, ids: list[str]) -> Any:
    return await client.ask({"action": action, "id": ids})


async def test_a_user_reports_so_many_receipts_and_another_goes_on(make_stack: Any) -> None:
    stack: Stack = make_stack(USER_RECEIPTS_PER_S="0.5", USER_RECEIPTS_BURST="1000")
    async with (
        Client(stack.ws_urls[0], user="flooder") as flooder,
        Client(stack.ws_urls[0], user="flooder") as tab,
        Client(stack.ws_urls[0], user="other") as other,
    ):
        for n in range(10):
            await ask(flooder, "ack", invented(100, 100 * n))
        refused = await ask(flooder, "ack", invented(100, 1_000))
        assert (refused["type"], refused["code"]) == ("error", "too-many-receipts")
        # Of the user, whatever connection they come on, and whatever kind they are.
        assert (await ask(tab, "read", invented(100)))["code"] == "too-many-receipts"
        assert (await flooder.ask({"action": "ping"}))["type"] == "pong"
        assert (await ask(other, "ack", ["x"])).get("code") != "too-many-receipts"


async def test_a_flood_of_receipts_never_costs_a_notification(make_stack: Any) -> None:
    bound = 2_000
    stack: Stack = make_stack(
        EVENT_READERS="history", EVENTS_BOUND=str(bound), USER_RECEIPTS_BURST="1000000"
    )
    async with (
        Client(stack.ws_urls[0], user=str(uuid4())) as flooder,
        stack.valkey.client() as redis,
    ):

        async def flood() -> list[Any]:
            return [await ask(flooder, "ack", invented(900, 900 * n)) for n in range(100)]

        flooding = asyncio.ensure_future(flood())
        while not flooding.done():
            assert (await post(stack, NOTIFICATION)).status == 202
            if await redis.xlen(KEYS.events) > bound * 0.8:
                break
        answers = await flooding
        assert len(answers) == 100
        assert (await post(stack, NOTIFICATION)).status == 202
        assert all(a["type"] == "acked" or a["code"] == "unavailable" for a in answers)
        entries: Any = await redis.xrange(KEYS.events)
        receipts = [f for _, f in entries if f["k"] == "delivered"]
        assert len(receipts) <= bound / 2 + 900


async def test_a_repeated_receipt_is_answered_and_written_once(stack: Stack) -> None:
    user = str(uuid4())
    async with (
        Client(stack.ws_urls[0], user=user) as phone,
        Client(stack.ws_urls[1], user=user) as laptop,
        stack.valkey.client() as redis,
    ):
        sent = await post(stack, {**NOTIFICATION, "target": user})
        await until(lambda: phone.ids == laptop.ids == [sent.id])
        for client in (phone, laptop, phone):
            for action, answer in (("ack", "acked"), ("read", "read")):
                told = await ask(client, action, [sent.id])
                assert told == {"type": answer, "userId": user, "ids": [sent.id]}
        entries: Any = await redis.xrange(KEYS.events)
        kinds = [f["k"] for _, f in entries if f["c"] == f"default/user:{user}"]
        assert sorted(kinds) == ["delivered", "published", "read"]

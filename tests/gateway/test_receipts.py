"""Receipts from sockets: counted by id, written once, and never at the cost of notifications."""

import json
from typing import Any
from uuid import uuid4

from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until

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


async def test_a_flood_of_invented_receipts_writes_nothing(make_stack: Any) -> None:
    stack: Stack = make_stack(USER_RECEIPTS_BURST="1000000")
    async with (
        Client(stack.ws_urls[0], user=str(uuid4())) as flooder,
        stack.valkey.client() as redis,
    ):
        answers = [await ask(flooder, "ack", invented(900, 900 * n)) for n in range(60)]
        assert {a["type"] for a in answers} == {"error"}
        codes = [a["code"] for a in answers]
        # At first each is looked for, later most are not even that.
        assert codes[0] == "not-sent"
        assert set(codes) == {"not-sent", "too-many-receipts"}
        assert answers[0]["ids"] == invented(100)
        assert await redis.xlen(KEYS.events) == 0


async def test_a_flood_of_receipts_never_costs_a_notification(make_stack: Any) -> None:
    bound = 100
    stack: Stack = make_stack(EVENT_READERS="history", EVENTS_BOUND=str(bound))
    async with (
        Client(stack.ws_urls[0], user="v") as client,
        stack.valkey.client() as redis,
    ):
        first = (await post(stack, NOTIFICATION)).id
        await until(lambda: client.ids == [first])
        assert (await ask(client, "ack", [first]))["type"] == "acked"
        for _ in range(bound // 2):
            await post(stack, NOTIFICATION)
        await until(lambda: len(client.ids) == 1 + bound // 2)
        # Half of the stream is full by now, nobody reads it, and the other half is not theirs.
        for action in ("ack", "read"):
            for an_id in client.ids[1:]:
                assert (await ask(client, action, [an_id]))["code"] == "unavailable"
        assert (await post(stack, NOTIFICATION)).status == 202
        assert await redis.xlen(KEYS.events) < bound


async def test_receipts_are_for_what_the_user_was_sent(make_stack: Any) -> None:
    stack: Stack = make_stack(gateways=2)
    room = {"type": "room", "userId": 1, "target": "r", "message": "x"}
    everybody = {"type": "broadcast", "userId": 1, "message": "x"}
    async with (
        Client(stack.ws_urls[0], user="v", room="r") as client,
        Client(stack.ws_urls[0], user="w") as other,
        stack.valkey.client() as redis,
    ):
        sent = [(await post(stack, body)).id for body in (NOTIFICATION, room, everybody)]
        private, to_room, to_all = sent
        await until(lambda: sorted(client.ids) == sorted(sent) and other.ids == [to_all])
        # Some of these it was sent, the others are another's.
        answer = await ask(other, "ack", [*sent, "?"])
        assert answer == {
            "type": "acked", "userId": "w", "ids": [to_all], "refused": [private, to_room, "?"],
        }  # fmt: skip
        refused = await ask(other, "read", [private, to_room])
        assert (refused["code"], refused["ids"]) == ("not-sent", [private, to_room])
        assert (await ask(client, "ack", sent))["ids"] == sent
        odd = 'with "quotes" and \\'
        job = {"id": odd, "type": "private", "userId": 1, "target": "v", "message": "by hand"}
        await redis.lpush(KEYS.door("high"), json.dumps(job))
        await until(lambda: odd in client.ids)
        assert (await ask(client, "ack", [odd]))["ids"] == [odd]
    # At another gateway, which sent none of it, the logs are looked at: once for all.
    async with Client(stack.ws_urls[1], user="v", room="r") as again:
        for an_id in sent:
            assert (await ask(again, "read", [an_id]))["ids"] == [an_id]
        assert (await ask(again, "read", [odd]))["ids"] == [odd]
        assert (await ask(again, "read", ["?"]))["code"] == "not-sent"
    # What was reported once may be again, also when the logs are gone.
    stack.valkey.command("DEL", *(f"{KEYS.log_prefix}default/{c}" for c in ("user:v", "room:r")))
    stack.restart("gateway-2")
    async with Client(stack.ws_urls[1], user="v") as later:
        assert (await ask(later, "read", [private]))["ids"] == [private]


async def test_what_was_replayed_may_be_reported_one_by_one(make_stack: Any) -> None:
    stack: Stack = make_stack(gateways=2)
    async with Client(stack.ws_urls[0], user="v") as before:
        positions = before.positions
    sent = [(await post(stack, NOTIFICATION)).id for _ in range(60)]
    async with Client(stack.ws_urls[1], user="v", resume=positions) as back:
        await until(lambda: back.ids == sent)
        for an_id in sent:
            assert (await ask(back, "ack", [an_id]))["type"] == "acked"


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
            if client is laptop:
                # The other one's reading is told here, too, and is no answer.
                await until(lambda: any(body["type"] == "read" for body in laptop.told))
            for action, answer in (("ack", "acked"), ("read", "read")):
                told = await ask(client, action, [sent.id])
                assert told == {"type": answer, "userId": user, "ids": [sent.id]}
        entries: Any = await redis.xrange(KEYS.events)
        kinds = [f["k"] for _, f in entries if f["c"] == f"default/user:{user}"]
        assert sorted(kinds) == ["delivered", "published", "read"]

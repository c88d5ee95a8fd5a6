"""Connections that come back, connections left behind, and what each is told."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

from sdk.python.roomcast_client import Position, RoomcastClient
from tests.conftest import MakeStack
from tests.support.clients.sender import Sender, post
from tests.support.clients.socket_client import Client
from tests.support.clients.socket_wire import client_frame, open_socket
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until


def to_room(room: str, message: str = "x") -> dict[str, Any]:
    return {"type": "room", "userId": "sender", "target": room, "message": message}


async def send(stack: Stack, room: str, count: int, message: str = "x") -> list[str]:
    async with Sender(stack.http_urls[0]) as sender:
        return [(await sender(to_room(room, message))).id for _ in range(count)]


async def published(stack: Stack, room: str, offset: int) -> None:
    key = f"{KEYS.channel_prefix}default/room:{room}"

    async def reached() -> bool:
        async with stack.valkey.client() as client:
            found: Any = await client.hget(key, "o")
            return int(found or 0) >= offset

    await until(reached, f"offset {offset}")


def recovered(client: Client) -> dict[str, bool]:
    return {
        name: found["recovered"]
        for name, found in client.registered["channels"].items()
        if "recovered" in found
    }


async def test_what_was_missed_comes_first_at_another_gateway(stack: Stack) -> None:
    room = str(uuid4())
    async with Client(stack.ws_urls[0], user=room, room=room) as before:
        first = await send(stack, room, 3)
        await until(lambda: before.ids == first)
    missed = await send(stack, room, 20)
    await published(stack, room, 23)
    async with Client(stack.ws_urls[1], user=room, room=room, resume=before.positions) as after:
        live = await send(stack, room, 5)
        await until(lambda: len(after.ids) >= 25)
    assert after.ids == missed + live
    assert [frame.body["offset"] for frame in after.frames] == list(range(4, 29))
    assert recovered(after) == {f"user:{room}": True, f"room:{room}": True, "broadcast": True}
    assert after.told == []


async def test_a_quiet_channel_is_recovered_and_nothing_is_sent(stack: Stack) -> None:
    room = str(uuid4())
    async with Client(stack.ws_urls[0], user=room, room=room) as before:
        pass
    async with Client(stack.ws_urls[1], user=room, room=room, resume=before.positions) as after:
        assert set(recovered(after).values()) == {True}
        assert (await after.ask({"action": "ping"}))["type"] == "pong"
        assert (after.frames, after.told) == ([], [])


async def test_more_than_the_log_keeps_is_not_recovered_and_live_messages_follow(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(LOG_MAX_ENTRIES="10")
    async with Client(stack.ws_urls[0], user=1, room=1) as before:
        await send(stack, "1", 1)
        await until(lambda: before.frames)
    await send(stack, "1", 15)
    await published(stack, "1", 16)
    async with Client(stack.ws_urls[0], user=1, room=1, resume=before.positions) as after:
        assert recovered(after) == {"user:1": True, "room:1": False, "broadcast": True}
        assert after.registered["channels"]["room:1"]["offset"] == 16
        (live,) = await send(stack, "1", 1)
        await until(lambda: after.frames)
    assert after.ids == [live]


async def test_positions_that_nobody_can_have_been_at_are_not_recovered(stack: Stack) -> None:
    room = str(uuid4())
    await send(stack, room, 2)
    await published(stack, room, 2)
    async with Client(stack.ws_urls[0], user=room, room=room) as now:
        epoch = now.registered["channels"][f"room:{room}"]["epoch"]
    for position in ({"epoch": "nonsense", "offset": 1}, {"epoch": epoch, "offset": 99}):
        resume = {f"room:{room}": position}
        async with Client(stack.ws_urls[0], user=room, room=room, resume=resume) as after:
            assert recovered(after) == {f"room:{room}": False}


async def test_a_resume_that_is_not_understood_is_an_error_and_can_be_repeated(
    stack: Stack,
) -> None:
    bad: list[Any] = [
        [], {"room:2": {"epoch": "a", "offset": 1}}, {"user:1": {"epoch": "a"}},
        {"user:1": {"epoch": 1, "offset": 1}}, {"user:1": {"epoch": "a", "offset": -1}},
        {"user:1": {"epoch": "a", "offset": True}}, {"user:1": {"epoch": "a", "offset": 2**60}},
        {"user:1": {"epoch": "a", "offset": 1.5}}, {"user:1": None},
        {"user:1": {"epoch": "é", "offset": 1}},
    ]  # fmt: skip
    async with open_socket(stack.ws_urls[0]) as peer:
        for resume in bad:
            await peer.send(client_frame(json.dumps({"userId": 1, "resume": resume}).encode()))
            assert json.loads((await peer.frame())[1])["code"] == "invalid", resume
        await peer.send(client_frame(json.dumps({"userId": 1, "resume": {}}).encode()))
        assert json.loads((await peer.frame())[1])["type"] == "registered"


async def test_who_does_not_read_is_left_behind_and_then_has_everything_in_order(
    tmp_path: Path,
) -> None:
    count, size = 150, 20_000
    with Stack(tmp_path, SOCKET_UNSENT_MAX_BYTES="65536") as stack:
        gateway = stack.names("gateway")[0]
        async with (
            Client(stack.ws_urls[0], user="good", room=1) as good,
            open_socket(stack.ws_urls[0], client_frame(b'{"userId":"deaf","room":1}')) as deaf,
        ):
            assert json.loads((await deaf.frame())[1])["type"] == "registered"
            deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
            sent = await send(stack, "1", count, "x" * size)
            await until(lambda: good.ids == sent, "the reader has everything")
            await until(
                lambda: stack.metric(gateway, "roomcast_left_behind_total") >= 1, "left behind"
            )
            deaf.reader._transport.resume_reading()  # type: ignore[attr-defined]
            heard = [json.loads((await deaf.frame())[1]) for _ in range(count)]
            assert [body["id"] for body in heard] == sent
            (live,) = await send(stack, "1", 1)
            assert json.loads((await deaf.frame())[1])["id"] == live
            assert stack.metric(gateway, "roomcast_slow_clients_total") == 0


async def test_who_was_left_behind_by_more_than_the_log_keeps_is_told(tmp_path: Path) -> None:
    size = 20_000
    with Stack(tmp_path, SOCKET_UNSENT_MAX_BYTES="65536", LOG_MAX_ENTRIES="5") as stack:
        async with (
            Client(stack.ws_urls[0], user="good", room=1) as good,
            open_socket(stack.ws_urls[0], client_frame(b'{"userId":"deaf","room":1}')) as deaf,
        ):
            await deaf.frame()
            deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
            sent: list[str] = []
            for count in range(1, 101):
                sent += await send(stack, "1", 1, "x" * size)
                await until(lambda count=count: len(good.ids) == count)  # type: ignore[misc]
            deaf.reader._transport.resume_reading()  # type: ignore[attr-defined]
            heard: list[dict[str, Any]] = []
            while not heard or heard[-1]["type"] != "reset":
                heard.append(json.loads((await deaf.frame())[1]))
            (live,) = await send(stack, "1", 1)
            after = json.loads((await deaf.frame())[1])
    *before, reset = heard
    assert [body["id"] for body in before] == sent[: len(before)]
    assert 0 < len(before) < len(sent)
    assert (reset["channel"], reset["recovered"]) == ("room:1", False)
    assert (after["id"], after["offset"]) == (live, reset["offset"] + 1)


async def test_a_gateway_that_stalled_brings_its_reading_client_up_in_many_rooms(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(gateways=1, LOG_MAX_ENTRIES="1000")
    rooms = [str(n) for n in range(20)]
    async with Client(stack.ws_urls[0], user="reader", room=rooms) as reader:
        stack.kill("gateway-1", signal.SIGSTOP)
        sent: dict[str, list[str]] = {}
        for room in rooms:
            async with Sender(stack.http_urls[0]) as sender:
                bodies = [to_room(room, "y" * 2_000) for _ in range(200)]
                sent[room] = (await sender(bodies)).ids
        for room in rooms:
            await published(stack, room, 200)
        stack.kill("gateway-1", signal.SIGCONT)
        await until(lambda: len(reader.frames) >= 4_000 or reader.close_code)
        for room in rooms:
            heard = [f.body["id"] for f in reader.frames if f.body["target"] == room]
            assert heard == sent[room]
        assert reader.close_code is None


async def test_redis_that_came_back_is_told_as_recovered_and_emptied_as_not(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(gateways=1, GAP_CHECK_INTERVAL_S="0.5")
    async with Client(stack.ws_urls[0], user=1, room=1) as client:
        await send(stack, "1", 2)
        await until(lambda: len(client.frames) == 2)
        async with stack.valkey.client() as redis:
            await redis.flushall()
        await until(lambda: len(client.told) >= 3, "all three channels are reset")
        assert {(body["channel"], body["recovered"]) for body in client.told} == {
            ("user:1", False), ("room:1", False), ("broadcast", False),
        }  # fmt: skip
        (sent,) = await send(stack, "1", 1)
        await until(lambda: len(client.frames) == 3)
        assert client.ids[-1] == sent
        client.told.clear()
        await asyncio.to_thread(stack.valkey.stop)
        await asyncio.to_thread(stack.valkey.start)
        await until(lambda: len(client.told) >= 2, "silent channels are told of the new epoch")
        assert all(body["recovered"] for body in client.told)


async def test_the_reference_client_resumes_through_kills_of_its_gateway(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(gateways=1)
    heard: list[str] = []
    async with RoomcastClient(stack.ws_urls[0], user=1, rooms=[1]) as client:

        async def listen() -> None:
            async for message in client:
                heard.append(message["id"])  # noqa: PERF401 - it never ends

        listening = asyncio.create_task(listen())
        sent: list[str] = []
        for _ in range(3):
            sent += await send(stack, "1", 30)
            stack.kill("gateway-1")
            sent += await send(stack, "1", 30)
            await asyncio.to_thread(stack.restart, "gateway-1")
            count = len(sent)
            await until(lambda count=count: len(heard) >= count)  # type: ignore[misc]
        assert heard == sent
        assert client.connects == 4
        assert client.duplicates == 0
        assert client.positions["room:1"].offset == len(sent)
        assert isinstance(client.positions["room:1"], Position)
        listening.cancel()


async def test_receipts_are_events_and_what_was_read_is_told_to_the_users_other_sockets(
    stack: Stack,
) -> None:
    user = str(uuid4())
    async with (
        Client(stack.ws_urls[0], user=user) as phone,
        Client(stack.ws_urls[1], user=user) as laptop,
        Client(stack.ws_urls[1], user=f"not-{user}") as stranger,
    ):
        sent = await post(stack, {"type": "private", "userId": 1, "target": user, "message": "hi"})
        await until(lambda: phone.ids == laptop.ids == [sent.id])
        acked = await phone.ask({"action": "ack", "id": sent.id})
        assert acked == {"type": "acked", "userId": user, "ids": [sent.id]}
        read = await phone.ask({"action": "read", "id": [sent.id, sent.id]})
        assert read == {"type": "read", "userId": user, "ids": [sent.id]}
        await until(lambda: laptop.told == [read])
        assert (await phone.ask({"action": "ping"}))["type"] == "pong"
        assert (await stranger.ask({"action": "ping"}))["type"] == "pong"
        assert phone.told == stranger.told == []
        for bad in (None, [], 1.5, [""], "x" * 129, ["a"] * 1001):
            assert (await phone.ask({"action": "ack", "id": bad}))["code"] == "invalid"
    async with stack.valkey.client() as redis:
        found: Any = await redis.xrevrange(KEYS.events, count=10)
    ours = [fields for _, fields in found if fields["c"] == f"default/user:{user}"]
    assert [fields["k"] for fields in ours] == ["read", "delivered", "published"]
    assert json.loads(ours[0]["p"])["id"] == sent.id


async def test_writes_to_sockets_are_counted_live_and_replayed(make_stack: MakeStack) -> None:
    stack = make_stack(gateways=2, EVENT_READERS="history")

    async def counted() -> dict[int, int]:
        """Sockets by offset in room:1, as the gateways reported them."""
        found: dict[int, int] = {}
        async with stack.valkey.client() as redis:
            entries: Any = await redis.xrange(KEYS.events)
        for _, fields in entries:
            if (fields["k"], fields["c"]) == ("written", "default/room:1"):
                for first, last, sockets in json.loads(fields["p"])["runs"]:
                    for offset in range(first, last + 1):
                        found[offset] = found.get(offset, 0) + sockets
        return found

    async with (
        Client(stack.ws_urls[0], user=1, room=1) as one,
        Client(stack.ws_urls[0], user=2, room=1),
        Client(stack.ws_urls[1], user=3, room=1) as leaving,
    ):
        await send(stack, "1", 3)
        await until(lambda: len(leaving.frames) == len(one.frames) == 3)
        positions = {"room:1": leaving.positions["room:1"]}
        await leaving.close()
        await send(stack, "1", 2)
        await until(lambda: len(one.frames) == 5)
        async with Client(stack.ws_urls[1], user=3, room=1, resume=positions) as back:
            await until(lambda: len(back.frames) == 2)

            async def complete() -> bool:
                return await counted() == {1: 3, 2: 3, 3: 3, 4: 3, 5: 3}

            await until(complete, "the counts are reported")


async def test_what_was_delivered_counts_as_read_where_the_setting_says_so(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(READ_ON_DELIVERY="true")
    async with Client(stack.ws_urls[0], user=1) as client, stack.valkey.client() as redis:
        sent = await post(stack, {"type": "private", "userId": 2, "target": 1, "message": "x"})
        away = await post(stack, {"type": "private", "userId": 2, "target": 9, "message": "x"})
        await until(lambda: client.told)
        assert client.told == [{"type": "read", "userId": "1", "ids": [sent.id]}]
        entries: Any = await redis.xrange(KEYS.events)
        read = [json.loads(f["p"])["id"] for _, f in entries if f["k"] == "read"]
        assert read == [sent.id]
        assert away.id != sent.id

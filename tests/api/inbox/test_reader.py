"""Inboxes, read from the cache or the database (`server/inbox/reader.py`)."""

import asyncio
import json
import uuid
from datetime import UTC, datetime

from tests.support.clients.api import Api
from tests.support.clients.event_stream import events
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until


async def test_private_room_and_broadcast_are_there_newest_first(
    api: Api, user: str, room: str
) -> None:
    await api.join(room, user)
    sent = [
        await api.send("private", user),
        await api.send("room", room),
        await api.send("broadcast"),
    ]
    await api.arrived(user, *reversed(sent))


async def test_a_notification_with_many_targets_is_there_once(
    api: Api, user: str, room: str
) -> None:
    rooms = [f"{room}-{number}" for number in range(5)]
    for one in rooms:
        await api.join(one, user)
    sent = await api.send("room", rooms)

    async def complete() -> bool:
        return len((await api.story(sent))["channels"]) == len(rooms)

    await until(complete)
    await api.arrived(user, sent)
    assert (await api.ids(user)).count(sent) == 1
    assert (await api.ids(user, unread="true")).count(sent) == 1


async def test_a_member_sees_what_came_since_they_joined_until_they_leave(
    api: Api, user: str, room: str
) -> None:
    before = await api.send("room", room)
    await asyncio.sleep(0.01)
    await api.join(room, user)
    after = await api.send("room", room)
    await api.arrived(user, after)
    assert before not in await api.ids(user)
    count = await api.unread(user)
    await api.leave(room, user)
    assert after not in await api.ids(user)
    assert await api.unread(user) == count - 1
    await api.join(room, user)
    assert after not in await api.ids(user)
    again = await api.send("room", room)
    await api.arrived(user, again)


async def test_pages_hold_still_while_new_ones_arrive(api: Api, user: str) -> None:
    sent = [await api.send("private", user) for _ in range(25)]
    await api.arrived(user, *reversed(sent[5:]))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.inbox(user, limit=7, **cursor)
        seen += [item["id"] for item in page["notifications"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
        newer = await api.send("private", user)
        await api.arrived(user, newer)
    ours = [an_id for an_id in seen if an_id in sent]
    assert ours == list(reversed(sent))


async def test_filters(api: Api, user: str, room: str) -> None:
    await api.join(room, user)
    first = await api.send("private", user)
    second = await api.send("room", room)
    await asyncio.sleep(0.01)
    since = datetime.now(UTC)
    await asyncio.sleep(0.01)
    third = await api.send("private", user)
    await api.arrived(user, third, second, first)
    assert await api.ids(user, room=room) == [second]
    assert await api.ids(user, room="another") == []
    assert await api.ids(user, since=since.isoformat()) == [third]
    assert await api.read(user, first) == 204
    unread = await api.ids(user, unread="true")
    assert first not in unread
    assert [an_id for an_id in unread if an_id in (second, third)] == [third, second]


async def test_what_is_read_counts_at_once_wherever_it_was_read(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    one, two = [await api.send("private", user) for _ in range(2)]
    await api.arrived(user, two, one)
    count = await api.unread(user)
    async with Client(inbox_stack.ws_urls[0], user=user) as client:
        await client.ask({"action": "read", "id": one})
    assert await api.unread(user) == count - 1
    assert await api.read(user, two) == 204
    assert await api.unread(user) == count - 2
    items = (await api.inbox(user))["notifications"]
    assert [item["read"] for item in items if item["id"] in (one, two)] == [True, True]
    assert all(item["readAt"] for item in items if item["id"] in (one, two))


async def test_reading_twice_is_reading_once(api: Api, user: str, inbox_stack: Stack) -> None:
    sent = await api.send("private", user)
    await api.arrived(user, sent)
    assert [await api.read(user, sent) for _ in range(3)] == [204] * 3
    reads = [e for e in await events(inbox_stack) if e.kind == "read" and e.body["id"] == sent]
    assert len(reads) == 1


async def test_what_is_not_in_the_inbox_cannot_be_read(api: Api, user: str) -> None:
    other = await api.send("private", f"{user}-2")
    await api.arrived(f"{user}-2", other)
    for an_id in (other, str(uuid.uuid4()), "nothing"):
        assert await api.read(user, an_id) == 404


async def test_what_one_device_reads_is_marked_on_the_others(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    sent = await api.send("private", user)
    await api.arrived(user, sent)
    async with Client(inbox_stack.ws_urls[0], user=user) as client:
        assert await api.read(user, sent) == 204
        await until(lambda: client.told)
        assert client.told == [{"type": "read", "userId": user, "ids": [sent]}]
        more = [await api.send("private", user) for _ in range(3)]
        await api.arrived(user, *reversed(more))
        assert await api.read_all(user) >= 3
        await until(lambda: len(client.told) == 2)
        assert set(more) <= set(client.told[1]["ids"])


async def test_reading_all_reads_what_was_published_and_no_more(api: Api, user: str) -> None:
    sent = [await api.send("private", user) for _ in range(3)]
    await api.arrived(user, *reversed(sent))
    count = await api.unread(user)
    assert await api.read_all(user) == count
    assert await api.unread(user) == 0
    assert await api.read_all(user) == 0
    later = await api.send("private", user)
    await api.arrived(user, later)
    assert await api.ids(user, unread="true") == [later]
    assert await api.unread(user) == 1


async def test_cached_and_not_it_is_the_same(api: Api, user: str, inbox_stack: Stack) -> None:
    sent = [await api.send("private", user) for _ in range(25)]
    await api.arrived(user, *reversed(sent[5:]))
    assert await api.read(user, sent[20]) == 204

    async def cached() -> bool:
        await api.inbox(user)
        async with inbox_stack.valkey.client() as redis:
            return bool(await redis.exists(KEYS.inbox(f"default/{user}")))

    await until(cached)
    assert await api.read(user, sent[24]) == 204
    warm = await api.inbox(user)
    warm_count = await api.unread(user)
    async with inbox_stack.valkey.client() as redis:
        await redis.delete(KEYS.inbox(f"default/{user}"))
    cold = await api.inbox(user)
    assert json.dumps(warm) == json.dumps(cold)
    assert await api.unread(user) == warm_count
    assert [item["read"] for item in warm["notifications"]].count(True) == 2

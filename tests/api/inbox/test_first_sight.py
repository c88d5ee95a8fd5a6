"""Broadcasts count from a user's first sight on, whatever made them seen, and whatever dies."""

import asyncio
import json
import time
from typing import Any

import aiohttp
import asyncpg
import pytest

from common.model.timestamps import format_time
from tests.conftest import MakeStack
from tests.history.stream import add, fetch, frame, published, unread
from tests.history.test_migrate import LATER, NOON, change
from tests.support.clients.api import Api
from tests.support.clients.event_stream import events
from tests.support.clients.socket_client import Client
from tests.support.processes.process import free_port
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.postgres import session_postgres
from tests.support.waiting import until


async def _register(api: Api, stack: Stack, user: str) -> None:
    async with Client(stack.ws_urls[0], user=user):
        pass


async def _listen(api: Api, stack: Stack, user: str) -> None:
    url = stack.ws_urls[0].replace("ws://", "http://").rstrip("/")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/events", params={"userId": user}) as answer,
    ):
        assert answer.status == 200
        await answer.content.readline()
        await answer.content.readline()


async def _send(api: Api, stack: Stack, user: str) -> None:
    await api.send("private", user)


async def _join(api: Api, stack: Stack, user: str) -> None:
    await api.join("first-sight", user)


async def _make_known(api: Api, stack: Stack, user: str) -> None:
    assert (await api("POST", "/users", json={"id": user})).status == 201


async def _broadcasts(api: Api, user: str) -> list[str]:
    items = (await api.inbox(user, limit=100))["notifications"]
    return [item["id"] for item in items if item["type"] == "broadcast"]


async def _in_history(stack: Stack, notification: str) -> None:
    async def there() -> bool:
        query = "SELECT FROM publications WHERE notification = $1"
        return bool(await fetch(stack, query, notification))

    await until(there)


@pytest.mark.parametrize("see", [_register, _listen, _send, _join, _make_known])
async def test_a_new_user_has_the_broadcasts_of_from_then_on(
    api: Api, user: str, inbox_stack: Stack, see: Any
) -> None:
    before = await api.send("broadcast")
    await _in_history(inbox_stack, before)
    # Asking makes nobody seen.
    assert await api.unread(user) == 0
    assert await api.ids(user) == []
    await see(api, inbox_stack, user)
    # Right after it.
    after = await api.send("broadcast")

    async def there() -> bool:
        return after in await _broadcasts(api, user)

    await until(there)
    assert await _broadcasts(api, user) == [after]
    private = 1 if see is _send else 0

    async def counted() -> bool:
        return await api.unread(user) == 1 + private

    await until(counted)
    for what in ("read", "archive", "unread"):
        answer = await api("POST", f"/users/{user}/notifications/{before}/{what}")
        assert (answer.status, answer.body["code"]) == (404, "not-in-inbox")
    assert await api.read(user, after) == 204
    assert await api.unread(user) == private


async def test_asking_for_an_unknown_user_writes_nothing(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    last = await api.send("broadcast")
    await _in_history(inbox_stack, last)
    for _ in range(3):
        assert await api.unread(user) == 0
        assert await api.ids(user, unread="true") == []
        assert await api.ids(user, archived="true") == []
    query = "SELECT FROM sights WHERE user_id = $1"
    assert await fetch(inbox_stack, query, user) == []
    assert (await api("GET", f"/users/{user}")).status == 404
    # Being seen is not being made known.
    await _register(api, inbox_stack, user)
    assert (await api("GET", f"/users/{user}")).status == 404


async def test_what_is_cached_of_an_unknown_user_ends_with_their_sight(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    async def cached() -> bool:
        assert await api.ids(user) == []
        async with inbox_stack.valkey.client() as redis:
            return bool(await redis.exists(KEYS.inbox(f"default/{user}")))

    await until(cached)
    async with Client(inbox_stack.ws_urls[0], user=user) as client:
        sent = [await api.send("broadcast") for _ in range(3)]
        await until(lambda: set(sent) <= set(client.ids))

        async def all_there() -> bool:
            return await api.unread(user) == 3

        await until(all_there)
        assert await _broadcasts(api, user) == sent[::-1]


async def test_who_comes_back_makes_no_event_and_who_was_deleted_is_seen_anew(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1)
    async with Api(stack) as api:

        async def settled() -> bool:
            return await unread(stack) == 0

        async def seen() -> float:
            await until(settled)
            return stack.metric("history-1", "roomcast_history_events_total", kind="seen")

        first = await api.send("broadcast")
        await _in_history(stack, first)
        for _ in range(5):
            await _register(api, stack, "ann")
        async with Client(stack.ws_urls[0], user="ann"), Client(stack.ws_urls[0], user="ann"):
            pass
        assert await seen() == 1
        second = await api.send("broadcast")
        await api.arrived("ann", second)
        assert (await api("DELETE", "/users/ann")).status == 204
        third = await api.send("broadcast")
        await _in_history(stack, third)
        assert await api.ids("ann") == []
        assert await api.unread("ann") == 0
        await _register(api, stack, "ann")
        fourth = await api.send("broadcast")
        await api.arrived("ann", fourth)
        assert await api.ids("ann") == [fourth]
        assert await seen() == 2


async def test_many_who_register_at_once_are_few_events(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, servers=0, workers=0)
    clients = [Client(stack.ws_urls[0], user=f"u{n}") for n in range(150)]
    await asyncio.gather(*(client.__aenter__() for client in clients))
    found = [one for one in await events(stack) if one.kind == "seen"]
    users = [user for one in found for user, _ in one.body["users"]]
    assert sorted(users) == sorted(f"u{n}" for n in range(150))
    assert len(found) < 100
    await asyncio.gather(*(client.close() for client in clients))


async def test_a_gateway_killed_after_it_answered_and_a_writer_that_was_away(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1)
    async with Api(stack) as api:
        before = await api.send("broadcast")
        await _in_history(stack, before)
        stack.kill("history-1")
        async with Client(stack.ws_urls[0], user="ann"):
            stack.kill("gateway-1")
        after = await api.send("broadcast")

        async def published_() -> bool:
            return bool((await api.story(after))["status"] == "published")

        await until(published_)
        # The database knows of neither; Redis does.
        for _ in range(3):
            assert await api.unread("ann") == 0
        assert await api.read("ann", before) == 404
        assert await api.read("ann", after) == 204
        assert await api.read("bob", after) == 404
        await asyncio.to_thread(stack.start, "history-1")
        await api.arrived("ann", after)
        assert await api.ids("ann") == [after]
        assert await api.unread("ann") == 0
        assert await api.ids("bob") == []


async def test_a_writer_killed_amid_sights_loses_and_moves_none(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, servers=0, workers=0, HISTORY_BATCH_MAX="20")
    now_ms = time.time_ns() // 1_000_000
    entries: list[dict[str, Any]] = []
    for n in range(600):
        seen = {"users": [[f"u{n}", now_ms + n], [f"u{(n * 7) % 600}", now_ms + 5_000]]}
        entries.append({"k": "seen", "c": "default/broadcast", "w": "g", "p": json.dumps(seen)})
        at = format_time(now_ms + n)
        body = frame(n + 1, channel=f"user:v{n}", type="private", target=f"v{n}", createdAt=at)
        entries.append(published(body))
    await add(stack, *entries)
    for _ in range(3):
        await asyncio.sleep(0.1)
        stack.kill("history-1")
        await asyncio.to_thread(stack.start, "history-1")

    async def settled() -> bool:
        return await unread(stack) == 0

    await until(settled)
    rows = await fetch(stack, "SELECT user_id, seen_at FROM sights")
    found = {row["user_id"]: round(row["seen_at"].timestamp() * 1000) for row in rows}
    wanted = {f"{kind}{n}": now_ms + n for kind in "uv" for n in range(600)}
    assert found == wanted


async def test_what_redis_does_not_take_is_noted_later_as_of_its_time(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1)
    async with Api(stack) as api:
        # Nothing can be written while somebody else's key is in the way; registrations go on.
        stack.valkey.command("SET", KEYS.sights, "x")
        async with Client(stack.ws_urls[0], user="ann"):
            sent = await api.send("broadcast")
            await _in_history(stack, sent)
            assert await api.ids("ann") == []
            stack.valkey.command("DEL", KEYS.sights)
            # The cached empty inbox is void, though the broadcast was written before the sight.
            await api.arrived("ann", sent)
            assert await api.unread("ann") == 1


async def test_a_database_of_before_keeps_all_for_whom_it_knows() -> None:

    url = session_postgres(free_port()).make_database()
    await change(url, "upgrade", "0007")
    connection: Any = await asyncpg.connect(url)
    try:
        for table in ("publications", "receipts"):
            await connection.execute(
                f"CREATE TABLE {table}_{NOON:%Y%m%d} PARTITION OF {table}"
                f" FOR VALUES FROM ('{NOON.date()} 00:00+00') TO ('{LATER.date()} 00:00+00')"
            )
        for user in ("private", "gone", "again"):
            await connection.execute(
                """
                INSERT INTO publications (client, notification, channel, epoch, "offset", status,
                    type, sender, priority, frame, worker, created_at, published_at)
                VALUES ('c', $1, 'user:' || $1, 'e', 1, 'published', 'private', '2', 'high', '{}',
                    'w', $2, $2)
                """,
                user,
                NOON,
            )
        await connection.execute("INSERT INTO receipts VALUES ('c', 'n', 'read', 'read', $1)", NOON)
        await connection.execute("INSERT INTO users (client, id) VALUES ('c', 'known')")
        await connection.execute(
            "INSERT INTO room_members (client, room, user_id, joined_at)"
            " VALUES ('c', 'r', 'in', $1)",
            NOON,
        )
        for user, at in (("gone", LATER), ("again", NOON.replace(hour=1))):
            await connection.execute(
                "INSERT INTO deleted_users VALUES ('c', user_digest('c', $1), $2, 1, 0)", user, at
            )
        await change(url, "upgrade", "0008")
        rows = await connection.fetch("SELECT user_id, isfinite(seen_at) AS at FROM sights")
        assert {row["user_id"]: row["at"] for row in rows} == dict.fromkeys(
            ("private", "again", "read", "known", "in"), False
        )
    finally:
        await connection.close()

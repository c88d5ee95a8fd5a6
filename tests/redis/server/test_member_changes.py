"""Changes of members: first the event in a real Valkey, then the rows in a real PostgreSQL."""

import json
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from common.config.settings import Settings
from common.events.event import Event, EventKind
from common.model.timestamps import from_unix_ms
from history.queries.inbox import rooms_of
from history.queries.users import find_user
from history.writing.partitions import Partitions
from history.writing.rows import read_events
from history.writing.store import Store
from server.members.member_changes import Changes
from tests.support.stores.job_queue import KEYS, SHARDS, Queue

AT_MS = 1_700_000_000_000
AT = "2023-11-14T22:13:20.000Z"


@pytest.fixture
def changes(queue: Queue, client: str) -> Changes:
    return Changes(queue.redis, SHARDS, Settings(_env_file=None), "server-7").of(client)


async def _heard(listening: Any) -> list[bytes]:
    found = [await listening.get_message(timeout=0.1) for _ in range(4)]
    await listening.aclose()
    return [one["data"] for one in found if one and one["type"] == "message"]


async def test_a_membership_is_an_event_of_the_room_and_a_row(
    queue: Queue, connection: Any, client: str, changes: Changes
) -> None:
    await changes.make(connection, EventKind.MEMBER_JOINED, "ann", at_ms=AT_MS, room="r")
    (event,) = await queue.events()
    assert (event[b"k"], event[b"c"], event[b"w"]) == (
        b"member-joined", f"{client}/room:r".encode(), b"server-7",
    )  # fmt: skip
    assert json.loads(event[b"p"]) == {"userId": "ann", "at": AT, "room": "r"}
    assert await rooms_of(connection, client, "ann") == {"r": AT_MS}
    assert await rooms_of(connection, "default", "ann") == {}


async def test_the_writer_makes_the_change_from_the_event_and_again_it_is_nothing(
    queue: Queue, connection: Any, database_url: str, client: str, changes: Changes
) -> None:
    # In the same millisecond: the order of the events decides.
    for kind in (EventKind.MEMBER_LEFT, EventKind.MEMBER_JOINED):
        await changes.make(connection, kind, "ann", at_ms=AT_MS, room="r")
    query = "SELECT * FROM room_members WHERE client = $1"
    made = await connection.fetch(query, client)
    assert len(made) == 1
    entries = await queue.redis.xrange(KEYS.events)
    events = [
        Event(entry.decode(), fields[b"k"].decode(), fields[b"c"].decode(), "w", fields[b"p"], b"")
        for entry, fields in entries
    ]
    store = Store(database_url, Partitions(30))
    try:
        await store.write(read_events(events).rows)
        assert await connection.fetch(query, client) == made
        await connection.execute("DELETE FROM room_members WHERE client = $1", client)
        await store.write(read_events(events[::-1]).rows)
        assert await connection.fetch(query, client) == made
    finally:
        store.drop_connections()


async def test_the_event_is_there_even_if_the_database_is_not(
    queue: Queue, database_url: str, client: str, changes: Changes
) -> None:
    closed = await asyncpg.connect(database_url)
    await closed.close()
    with pytest.raises(asyncpg.InterfaceError):
        await changes.make(closed, EventKind.USER, "ann", at_ms=AT_MS)
    (event,) = await queue.events()
    assert (event[b"k"], event[b"c"]) == (b"user", f"{client}/user:ann".encode())


async def test_without_an_event_nothing_is_changed(connection: Any, client: str) -> None:
    away = Redis(host="127.0.0.1", port=1)
    changes = Changes(away, SHARDS, Settings(_env_file=None), "s", client)
    with pytest.raises(RedisConnectionError):
        await changes.make(connection, EventKind.USER, "ann", at_ms=AT_MS)
    await away.aclose()
    assert await find_user(connection, client, "ann") is None


async def test_who_is_made_known_has_the_time_of_the_event(
    connection: Any, client: str, changes: Changes
) -> None:
    await changes.make(connection, EventKind.USER, "ann", at_ms=AT_MS)
    assert await find_user(connection, client, "ann") == from_unix_ms(AT_MS)


@pytest.mark.parametrize("kind", [EventKind.ARCHIVED, EventKind.UNREAD])
async def test_sockets_hear_what_happens_to_a_notification_and_unread_is_no_recent_read(
    queue: Queue, connection: Any, client: str, changes: Changes, kind: EventKind
) -> None:
    reads = KEYS.reads(f"{client}/ann")
    await queue.redis.zadd(reads, {"n1": 1, "n2": 2})
    listening = queue.redis.pubsub()
    await listening.subscribe(KEYS.pub(f"{client}/user:ann"))
    await changes.make(
        connection, kind, "ann", at_ms=AT_MS + 5, notification="n1", created_ms=AT_MS
    )
    assert await _heard(listening) == [
        b'! \n{"type":"%b","userId":"ann","ids":["n1"]}' % kind.encode()
    ]
    (event,) = await queue.events()
    body = json.loads(event[b"p"])
    assert (body["id"], body["createdAt"]) == ("n1", AT)
    kept = [b"n2"] if kind is EventKind.UNREAD else [b"n1", b"n2"]
    assert await queue.redis.zrange(reads, 0, -1) == kept


async def test_of_a_deleted_user_only_the_position_stays_in_redis(
    queue: Queue, connection: Any, client: str, changes: Changes
) -> None:
    name, own = f"{client}/ann", f"{client}/user:ann"
    position, gone = KEYS.channel_prefix + own, [
        KEYS.log_prefix + own, KEYS.inbox(name), KEYS.unread(name), KEYS.reads(name),
        KEYS.acks(name),
    ]  # fmt: skip
    for key in (position, *gone):
        await queue.redis.set(key, "x")
    await queue.redis.zadd(KEYS.sights, {name: 1, f"{client}/bob": 1})
    listening = queue.redis.pubsub()
    await listening.subscribe(KEYS.pub(own))
    await changes.make(connection, EventKind.USER_DELETED, "ann", at_ms=AT_MS)
    assert await _heard(listening) == [b"! !deleted\n"]
    assert await queue.redis.exists(*gone) == 0
    assert await queue.redis.exists(position) == 1
    assert await queue.redis.zrange(KEYS.sights, 0, -1) == [f"{client}/bob".encode()]


@pytest.mark.parametrize(("readers", "kept"), [("", 1), ("history", 3)])
async def test_events_are_trimmed_only_while_nobody_reads_them(
    queue: Queue, connection: Any, client: str, readers: str, kept: int
) -> None:
    settings = Settings(_env_file=None, event_readers=readers, events_max_entries=1)
    await queue.redis.config_set("stream-node-max-entries", "1")
    try:
        changes = Changes(queue.redis, SHARDS, settings, "s", client)
        for user in ("ann", "bob", "eve"):
            await changes.make(connection, EventKind.USER, user, at_ms=AT_MS)
        assert await queue.redis.xlen(KEYS.events) == kept
    finally:
        await queue.redis.config_set("stream-node-max-entries", "100")

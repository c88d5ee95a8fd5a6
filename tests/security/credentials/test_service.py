"""`server/clients/service.py`: a change is in the database first, and in Redis sooner or later."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from common.auth.client_directory import Directory
from common.auth.client_records import Scope
from common.config.settings import Settings
from common.events.event import EventKind
from common.redis.client import connect
from common.redis.shards import Shards
from history.database import Database, DatabaseAwayError
from history.queries.clients import Actor, find_client, list_keys
from history.schema.migrate import migrate
from server.clients import service
from server.clients.service import SETTLED_AFTER_S, Clients
from tests.redis.gateway.away import away, running
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, accepts
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.processes.stack import GLOBAL_KEYS
from tests.support.stores.postgres import session_postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until

OPS = Actor("ops", "k1")
SHARDS = Shards()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    made = Valkey(tmp_path_factory.mktemp("service"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    """A client of an empty Valkey."""
    client = connect(valkey.url, timeout_s=5)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def url() -> str:
    found = session_postgres(free_port()).make_database()
    asyncio.run(migrate(found))
    return found


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    made = Database(url)
    yield made
    await made.close()


def clients_of(database: Database, redis: Redis) -> Clients:
    return Clients(database, redis, SHARDS, Settings(_env_file=None), "server-test")


async def test_a_new_client_is_in_the_database_and_known_when_it_is_answered(
    database: Database, redis: Redis
) -> None:
    clients, directory = clients_of(database, redis), Directory(redis, GLOBAL_KEYS)
    began = time.monotonic()
    made, key = await clients.create(
        OPS, "Shop", "shop@example.com", operator=True, scopes=[Scope.READ]
    )
    # Every process that keeps up has read it by then.
    assert time.monotonic() - began >= SETTLED_AFTER_S
    await directory.refresh()
    record = directory.client(made.id)
    assert record is not None
    assert (record.name, record.operator) == ("Shop", True)
    (kept,) = record.keys
    assert kept.scopes == {Scope.READ}
    assert key.startswith(f"rk_{kept.id}")
    async with database.connection() as connection:
        assert await find_client(connection, made.id) == made
        assert [one.id for one in await list_keys(connection, made.id)] == [kept.id]


async def test_a_change_is_an_event_without_secrets(database: Database, redis: Any) -> None:
    made, key = await clients_of(database, redis).create(OPS, "Shop", "shop@example.com")
    entries = await redis.xrange(SHARDS.of(f"{made.id}/").events)
    assert len(entries) == 2
    for _, fields in entries:
        assert fields[b"k"].decode() == EventKind.AUDIT
        assert fields[b"c"].decode() == f"{made.id}/"
        assert fields[b"w"] == b"server-test"
        assert key.encode() not in fields[b"p"]
        said = json.loads(fields[b"p"])
        assert (said["subject"], said["client"], said["key"]) == (made.id, "ops", "k1")
    actions = [json.loads(fields[b"p"])["action"] for _, fields in entries]
    assert actions == ["client-created", "key-added"]


async def test_a_change_that_fails_midway_is_none_and_nobody_is_told(
    database: Database, redis: Any
) -> None:
    clients = clients_of(database, redis)
    made, _ = await clients.create(OPS, "Shop", "shop@example.com")
    await redis.flushall()

    async def fail() -> None:
        async with clients.change(OPS, made.id) as change:
            await change.add_key("second", [Scope.READ], None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.connection() as connection:
        assert len(await list_keys(connection, made.id)) == 1
    assert await redis.dbsize() == 0


async def test_a_change_while_redis_is_away_holds_and_comes_later(
    database: Database, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SYNC_INTERVAL_S", 0.01)
    nobody = away()
    made, _ = await clients_of(database, nobody).create(OPS, "Shop", "shop@example.com")
    await nobody.aclose()
    directory = Directory(redis, GLOBAL_KEYS)
    await directory.refresh()
    assert directory.client(made.id) is None

    async def known() -> bool:
        await directory.refresh()
        return directory.client(made.id) is not None

    async with running(clients_of(database, redis).sync(directory)):
        await until(known)


async def test_a_directory_that_may_be_too_old_is_compared_with_nothing(
    database: Database, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SYNC_INTERVAL_S", 0.01)
    clients, directory = clients_of(database, redis), Directory(redis, GLOBAL_KEYS)
    await clients.create(OPS, "Shop", "shop@example.com")
    await redis.flushall()

    async def written() -> bool:
        return bool(await redis.exists(GLOBAL_KEYS.clients))

    async with running(clients.sync(directory)):
        await asyncio.sleep(0.2)
        assert not await written()
        await directory.refresh()
        await until(written)


async def test_without_the_database_nothing_is_made_and_the_comparison_goes_on(
    redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "SYNC_INTERVAL_S", 0.01)
    nowhere = Database(f"postgresql://x@{LOOPBACK}:{free_port()}/x")
    clients, directory = clients_of(nowhere, redis), Directory(redis, GLOBAL_KEYS)
    await directory.refresh()
    with pytest.raises(DatabaseAwayError):
        await clients.create(OPS, "Shop", "shop@example.com")
    assert await redis.dbsize() == 0
    # An error that ends the loop fails the test.
    async with running(clients.sync(directory)):
        await asyncio.sleep(0.2)


async def test_a_change_that_redis_missed_comes_from_the_database(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    auth_stack.valkey.command(
        "DEL", GLOBAL_KEYS.clients, GLOBAL_KEYS.clients_order, GLOBAL_KEYS.clients_head
    )

    def back() -> bool:
        return bool(auth_stack.valkey.command("HEXISTS", GLOBAL_KEYS.clients, shop.id))

    await until(back)
    assert await accepts(auth_stack, 1, shop.key)

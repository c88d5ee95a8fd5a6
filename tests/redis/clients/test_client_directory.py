"""The directory of clients in Redis: written once, followed by all."""

from redis.asyncio import Redis

from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ClientRecord, KeyRecord, Scope
from tests.support.processes.stack import GLOBAL_KEYS


def record(an_id: str, version: int, *keys: str, disabled: bool = False) -> ClientRecord:
    made = tuple(KeyRecord(key, b"d" * 32, frozenset({Scope.READ})) for key in keys)
    return ClientRecord(an_id, f"client {an_id}", version, disabled=disabled, keys=made)


async def test_what_is_written_is_known_and_what_changed_is_told_once(redis: Redis) -> None:
    directory, writer = Directory(redis, GLOBAL_KEYS), DirectoryWriter(redis, GLOBAL_KEYS)
    told: list[tuple[str, int]] = []
    directory.listeners.append(lambda one: told.append((one.id, one.version)))
    assert directory.is_stale is True
    await directory.refresh()
    assert len(directory) == 0
    await writer.write([record("a", 1, "k1"), record("b", 2, "k2")])
    await directory.refresh()
    known = directory.key("k1")
    assert known is not None
    assert (known.digest, known.principal.client, known.principal.key) == (b"d" * 32, "a", "k1")
    assert directory.version == 2
    await writer.write([record("a", 3, "k3")])
    await directory.refresh()
    await directory.refresh()
    assert directory.key("k1") is None
    assert directory.key("k3") is not None
    assert told == [("a", 1), ("b", 2), ("a", 3)]


async def test_a_disabled_client_has_no_keys_and_is_not_found(redis: Redis) -> None:
    directory, writer = Directory(redis, GLOBAL_KEYS), DirectoryWriter(redis, GLOBAL_KEYS)
    await writer.write([record("a", 1, "k1")])
    await directory.refresh()
    await writer.write([record("a", 2, "k1", disabled=True)])
    await directory.refresh()
    assert directory.key("k1") is None
    assert directory.client("a") is None


async def test_an_older_record_never_replaces_a_newer_one(redis: Redis) -> None:
    directory, writer = Directory(redis, GLOBAL_KEYS), DirectoryWriter(redis, GLOBAL_KEYS)
    await writer.write([record("a", 5, "new")])
    await writer.write([record("a", 4, "old")])
    await directory.refresh()
    assert directory.key("new") is not None
    assert directory.key("old") is None


async def test_a_redis_that_was_emptied_revives_nothing_and_is_filled_again(redis: Redis) -> None:
    directory, writer = Directory(redis, GLOBAL_KEYS), DirectoryWriter(redis, GLOBAL_KEYS)
    await writer.write([record("a", 5, "new"), record("b", 6, "b")])
    await directory.refresh()
    await redis.delete(GLOBAL_KEYS.clients, GLOBAL_KEYS.clients_order, GLOBAL_KEYS.clients_head)
    await directory.refresh()
    assert directory.version == 0
    assert directory.key("new") is not None
    # Some server that fell back has an older one.
    await writer.write([record("a", 4, "old")])
    await directory.refresh()
    assert directory.key("old") is None
    assert directory.version == 4
    await writer.write([record("a", 7, "newest"), record("b", 6, "b")])
    await directory.refresh()
    assert directory.key("newest") is not None
    assert directory.version == 7


async def test_thousands_come_in_bounded_pieces_and_rubbish_stops_nothing(redis: Redis) -> None:
    directory, writer = Directory(redis, GLOBAL_KEYS), DirectoryWriter(redis, GLOBAL_KEYS)
    await writer.write([record(f"c{n}", n) for n in range(1, 1_301)])
    await redis.hset(GLOBAL_KEYS.clients, "c7", "rubbish")
    await redis.hset(GLOBAL_KEYS.clients, "c8", "8 {}")
    await redis.hdel(GLOBAL_KEYS.clients, "c9")
    await directory.refresh()
    assert len(directory) == 1_297
    assert directory.version == 1_300

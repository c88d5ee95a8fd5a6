"""Usage that is gathered in memory and added to Redis."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from common.accounting import usage
from common.accounting.usage import Outcome, Usage, day_of, last_days, read_usage
from common.redis.client import connect
from common.redis.shards import Shards
from tests.support.stores.valkey import Valkey

MIDNIGHT = 1_763_769_600.0  # 2025-11-22
KEYS = Shards().only
GLOBAL_KEYS = Shards().global_keys


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    valkey = Valkey(tmp_path_factory.mktemp("usage"))
    valkey.start()
    yield valkey
    valkey.process.stop()


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[Redis]:
    client = connect(valkey.url, timeout_s=5)
    anyhow: Any = client
    await anyhow.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    class Clock:
        now = MIDNIGHT - 1

        def time(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(usage, "time", clock)
    return clock


def test_days_are_those_of_utc_newest_first() -> None:
    assert [day_of(MIDNIGHT - 1), day_of(MIDNIGHT)] == ["2025-11-21", "2025-11-22"]
    assert last_days(3, MIDNIGHT) == ["2025-11-22", "2025-11-21", "2025-11-20"]


async def test_counts_of_two_processes_add_up_by_day(redis: Redis, clock: Any) -> None:
    both = [Usage(redis, GLOBAL_KEYS) for _ in range(2)]
    for one in both:
        one.add("shop", Outcome.ACCEPTED, 2)
        one.add_all({"shop": 3, "bank": 4}, Outcome.PUBLISHED)
        one.add("default", Outcome.ACCEPTED)
        await one.write()
    clock.now = MIDNIGHT
    both[0].add("shop", Outcome.FAILED)
    await both[0].write()
    found = await read_usage(redis, GLOBAL_KEYS, "shop", last_days(2, MIDNIGHT))
    assert found == {
        "2025-11-22": {"accepted": 0, "published": 0, "delivered": 0, "failed": 1},
        "2025-11-21": {"accepted": 4, "published": 6, "delivered": 0, "failed": 0},
    }
    key = GLOBAL_KEYS.usage("shop", "2025-11-21")
    assert 0 < await redis.ttl(key) <= usage.KEPT_DAYS * 86_400
    assert not await redis.exists(GLOBAL_KEYS.usage("default", "2025-11-21"))


async def test_sources_are_asked_before_each_write(redis: Redis, clock: Any) -> None:
    waiting = [3, 4]
    counts = Usage(redis, GLOBAL_KEYS, lambda: [("shop", Outcome.ACCEPTED, waiting.pop())])
    await counts.write()
    await counts.write()
    found = await read_usage(redis, GLOBAL_KEYS, "shop", ["2025-11-21"])
    assert found["2025-11-21"][Outcome.ACCEPTED] == 7
    assert not waiting


async def test_what_redis_does_not_take_is_kept_for_its_day(redis: Redis, clock: Any) -> None:
    nobody = connect("redis://127.0.0.1:1/0", timeout_s=1)
    one = Usage(nobody, GLOBAL_KEYS)
    one.add("shop", Outcome.ACCEPTED)
    await one.write()
    clock.now = MIDNIGHT
    one.add("shop", Outcome.ACCEPTED)
    await one.write()
    one._redis = redis
    await one.write()
    await one.write()
    found = await read_usage(redis, GLOBAL_KEYS, "shop", last_days(2, MIDNIGHT))
    assert [counts[Outcome.ACCEPTED] for counts in found.values()] == [1, 1]
    await nobody.aclose()


async def test_metrics_name_so_many_clients_and_add_up_the_others(
    redis: Redis, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SHOWN_MAX", 2)

    def shown(client: str) -> float:
        labels = {"client": client, "outcome": "published"}
        return REGISTRY.get_sample_value("roomcast_client_notifications_total", labels) or 0

    one = Usage(redis, GLOBAL_KEYS)
    for _ in range(2):
        for client in ("m1", "m2", "m3", "m4"):
            one.add(client, Outcome.PUBLISHED)
        await one.write()
    assert [shown(name) for name in ("m1", "m2", "m3", "other")] == [2, 2, 0, 4]


async def test_what_waits_is_bounded(
    redis: Redis, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "COUNTS_MAX", 2)
    one = Usage(redis, GLOBAL_KEYS)
    for _ in range(2):
        for client in ("a", "b", "c"):
            one.add(client, Outcome.ACCEPTED)
    await one.write()
    found = [
        (await read_usage(redis, GLOBAL_KEYS, client, ["2025-11-21"]))["2025-11-21"][
            Outcome.ACCEPTED
        ]
        for client in ("a", "b", "c")
    ]
    assert found == [2, 2, 0]

"""`server/clients/usage_report.py`: what a client is told of its usage, read from a real Redis."""

import time

import pytest
from redis.asyncio import Redis

from common.accounting.connection_counts import ConnectionCounts
from common.accounting.usage import Outcome, Usage, day_of
from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ClientLimits, ClientRecord
from common.auth.principal import OPEN, Principal
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from server.access.client_limits import Limiter
from server.clients.usage_report import DAYS, UsageReport
from tests.redis.gateway.away import away
from tests.support.processes.stack import GLOBAL_KEYS

SHOP = Principal("shop")


async def limiter_of(redis: Redis) -> Limiter:
    """A limiter that knows a shop with ten notifications a day."""
    directory = Directory(redis, GLOBAL_KEYS)
    limits = ClientLimits(notifications_per_day=10)
    await DirectoryWriter(redis, GLOBAL_KEYS).write(
        [ClientRecord("shop", "Shop", 1, limits=limits)]
    )
    await directory.refresh()
    return Limiter(redis, GLOBAL_KEYS, directory, Settings(_env_file=None))


async def test_usage_is_the_client_s_own_by_day_newest_first(redis: Redis) -> None:
    usage = Usage(redis, GLOBAL_KEYS)
    for number, outcome in enumerate(Outcome, 1):
        usage.add("shop", outcome, number)
        usage.add("bank", outcome, 100)
    await usage.write()
    report = UsageReport(redis, GLOBAL_KEYS, await limiter_of(redis))
    found = (await report.of(SHOP)).days
    assert len(found) == DAYS
    assert [day.day for day in found] == sorted({day.day for day in found}, reverse=True)
    today = found[0]
    assert today.day == day_of(time.time())
    assert [getattr(today, outcome) for outcome in Outcome] == [*range(1, len(Outcome) + 1)]
    assert all(getattr(day, outcome) == 0 for day in found[1:] for outcome in Outcome)


async def test_connections_are_those_at_all_gateways(redis: Redis) -> None:
    counts = ConnectionCounts(redis, GLOBAL_KEYS)
    await counts.write("g1", {"shop": 2, "bank": 1})
    await counts.write("g2", {"shop": 3})
    report = UsageReport(redis, GLOBAL_KEYS, await limiter_of(redis))
    assert (await report.of(SHOP)).connections == 5
    assert (await report.of(Principal("nobody"))).connections == 0


async def test_the_quota_is_what_all_servers_left_of_today(redis: Redis) -> None:
    here, elsewhere = await limiter_of(redis), await limiter_of(redis)
    counters = elsewhere.of(SHOP)
    assert counters is not None
    refusals: list[Problem | None] = []
    counters.notify(4, 0, refusals.append)
    await elsewhere.settle()
    assert refusals == [None]
    quota = (await UsageReport(redis, GLOBAL_KEYS, here).of(SHOP)).quota
    assert quota.limit == 10
    assert quota.left == 6


async def test_open_mode_has_no_quota(redis: Redis) -> None:
    quota = (await UsageReport(redis, GLOBAL_KEYS, await limiter_of(redis)).of(OPEN)).quota
    assert (quota.limit, quota.left) == (0, 0)


async def test_without_redis_it_says_to_repeat(redis: Redis) -> None:
    nobody = away()
    with pytest.raises(Problem) as refused:
        await UsageReport(nobody, GLOBAL_KEYS, await limiter_of(redis)).of(SHOP)
    await nobody.aclose()
    assert (refused.value.code, refused.value.status) == (ProblemCode.REDIS_AWAY, 503)
    assert refused.value.retry_after_s

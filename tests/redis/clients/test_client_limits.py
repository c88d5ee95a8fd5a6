"""Limits of clients, counted in a real Valkey, and the refusals past them."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from common.accounting.usage import Outcome
from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ClientLimits, ClientRecord
from common.auth.principal import OPEN, Principal
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from server.access import window_counter
from server.access.client_limits import FAN_OUT_FREE_BYTES, LimitCounters, Limiter, Then
from tests.support.stores.job_queue import GLOBAL_KEYS

SHOP = Principal("shop")
SETTINGS = Settings(
    client_requests_per_s=11, client_notifications_per_day=12, client_max_recipients=13
)


class Clock:
    """A clock that stands in the middle of a second, so that no window ends in a test."""

    def time(self) -> float:
        return 1_800_000_000.5

    def monotonic(self) -> float:
        return 1_000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_counter, "time", Clock())


@pytest.fixture
def directory(redis: Redis) -> Directory:
    return Directory(redis, GLOBAL_KEYS)


@pytest.fixture
async def limiter(redis: Redis, directory: Directory) -> AsyncIterator[Limiter]:
    limiter = Limiter(redis, GLOBAL_KEYS, directory, SETTINGS)
    yield limiter
    await limiter.settle()


async def shop_with(
    redis: Redis, directory: Directory, limiter: Limiter, version: int = 1, **limits: int
) -> LimitCounters:
    record = ClientRecord("shop", "Shop", version, limits=ClientLimits(**limits))
    await DirectoryWriter(redis, GLOBAL_KEYS).write([record])
    await directory.refresh()
    found = limiter.of(SHOP)
    assert found is not None
    return found


async def spent(spend: Callable[[Then], None]) -> Problem | None:
    future: asyncio.Future[Problem | None] = asyncio.get_running_loop().create_future()
    spend(future.set_result)
    return await future


async def codes(spend: Callable[[Then], None], times: int) -> list[ProblemCode | None]:
    problems = [await spent(spend) for _ in range(times)]
    return [None if problem is None else problem.code for problem in problems]


async def test_without_credentials_there_are_no_limits(limiter: Limiter) -> None:
    assert limiter.of(OPEN) is None


async def test_what_a_record_leaves_open_is_as_the_settings_say(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, notifications_per_day=7, message_max_bytes=9)
    assert (shop.requests.limit, shop.notifications.limit) == (11, 7)
    assert (shop.bounds.recipients, shop.bounds.message_bytes) == (13, 9)
    assert shop.lane_max == SETTINGS.client_lane_jobs
    assert limiter.of(SHOP) is shop


async def test_requests_past_the_limit_are_refused_until_the_next_second(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, requests_per_s=2)
    assert await codes(shop.request, 3) == [None, None, ProblemCode.RATE_LIMITED]
    refused = await spent(shop.request)
    assert refused is not None
    assert refused.retry_after_s == 1
    assert refused.response_headers()["RateLimit-Limit"] == "2"
    assert refused.response_headers()["RateLimit-Remaining"] == "0"


async def test_two_servers_share_one_limit(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    other = Limiter(redis, GLOBAL_KEYS, directory, SETTINGS)
    shop = await shop_with(redis, directory, limiter, requests_per_s=2)
    elsewhere = other.of(SHOP)
    assert elsewhere is not None
    assert await codes(shop.request, 1) == [None]
    assert await codes(elsewhere.request, 2) == [None, ProblemCode.RATE_LIMITED]
    await other.settle()


async def test_a_batch_that_is_more_than_is_left_of_the_day_is_refused_whole(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, notifications_per_day=5)
    assert await spent(lambda then: shop.notify(3, 0, then)) is None
    refused = await spent(lambda then: shop.notify(3, 0, then))
    assert refused is not None
    assert refused.code is ProblemCode.QUOTA_EXCEEDED
    assert "5 notifications per day (UTC), and 2 are left" in refused.detail
    assert await spent(lambda then: shop.notify(2, 0, then)) is None


async def test_a_wide_fan_out_is_limited_by_the_second_and_a_small_one_is_free(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, fan_out_bytes_per_s=FAN_OUT_FREE_BYTES)
    wide = await codes(lambda then: shop.notify(1, FAN_OUT_FREE_BYTES, then), 2)
    assert wide == [None, ProblemCode.FAN_OUT_LIMITED]
    free = await codes(lambda then: shop.notify(1, FAN_OUT_FREE_BYTES - 1, then), 2)
    assert free == [None, None]
    assert shop.notifications.left == 12 - 3, "what was refused for its width costs nothing else"


async def test_a_fan_out_beyond_the_whole_limit_takes_all_of_a_second(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, fan_out_bytes_per_s=FAN_OUT_FREE_BYTES)
    wide = await codes(lambda then: shop.notify(1, 100 * FAN_OUT_FREE_BYTES, then), 2)
    assert wide == [None, ProblemCode.FAN_OUT_LIMITED]


async def test_only_permits_at_hand_are_spent_without_asking(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, notifications_per_day=1_000)
    assert not shop.may_notify(1, 0)
    assert await spent(lambda then: shop.notify(1, 0, then)) is None
    assert shop.may_notify(1, FAN_OUT_FREE_BYTES - 1)
    assert not shop.may_notify(1, FAN_OUT_FREE_BYTES)
    assert shop.notifications.left == 998


async def test_a_changed_record_holds_at_once_and_what_was_spent_stays_spent(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, requests_per_s=1)
    assert await codes(shop.request, 2) == [None, ProblemCode.RATE_LIMITED]
    assert await shop_with(redis, directory, limiter, 2, requests_per_s=3) is shop
    assert await codes(shop.request, 3) == [None, None, ProblemCode.RATE_LIMITED]


async def test_the_header_lines_tell_of_the_limit_with_the_smaller_share_left(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter, requests_per_s=4, notifications_per_day=10)
    await spent(shop.request)
    await spent(lambda then: shop.notify(1, 0, then))
    assert shop.header_lines().startswith("RateLimit-Limit: 4\r\nRateLimit-Remaining: 3\r\n")
    await spent(lambda then: shop.notify(5, 0, then))
    assert shop.header_lines().startswith("RateLimit-Limit: 10\r\nRateLimit-Remaining: 4\r\n")


async def test_one_request_more_than_may_wait_is_refused_as_overload(
    redis: Redis, directory: Directory, limiter: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_counter, "WAITING_MAX", 1)
    shop = await shop_with(redis, directory, limiter)
    first, second = await asyncio.gather(spent(shop.request), spent(shop.request))
    assert first is None
    assert second is not None
    assert second.code is ProblemCode.OVERLOADED


async def test_accepted_notifications_are_counted_by_client_and_taken_once(
    redis: Redis, directory: Directory, limiter: Limiter
) -> None:
    shop = await shop_with(redis, directory, limiter)
    shop.accepted += 3
    assert list(limiter.accepted()) == [("shop", Outcome.ACCEPTED, 3)]
    assert list(limiter.accepted()) == []

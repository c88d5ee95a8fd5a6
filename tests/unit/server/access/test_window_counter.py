"""WindowCounter that are reserved in chunks and spent from memory."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.auth.client_records import ClientLimits
from common.config.settings import Settings
from server.access import window_counter
from server.access.client_limits import LINES_S, LimitCounters
from server.access.window_counter import TooManyWaitError, WindowCounter, WindowReservations


class MemoryBank(WindowReservations):
    """Counts in memory what `limits` counts in Redis; answers after a turn of the loop."""

    def __init__(self) -> None:
        self._away_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0
        self.spent: dict[str, int] = {}
        self.calls = 0
        self.error: Exception | None = None

    async def reserve(self, key: str, limit: int, period_s: int, amount: int) -> bool:
        self.calls += 1
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        if self.spent.get(key, 0) + amount > limit:
            return False
        self.spent[key] = self.spent.get(key, 0) + amount
        return True

    async def reserved(self, key: str, period_s: int) -> int:
        return self.spent.get(key, 0)


class Clock:
    now = 1_000.5

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(window_counter, "time", clock)
    return clock


@pytest.fixture
async def bank() -> AsyncIterator[MemoryBank]:
    bank = MemoryBank()
    yield bank
    await bank.settle()
    assert bank.waiting == 0


async def spend(one: WindowCounter, cost: int = 1) -> bool:
    found = one.take(cost)
    if found is not None:
        return found
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    one.wait(cost, future.set_result)
    return await future


async def test_a_chunk_is_asked_for_once_and_spent_without_asking(
    bank: MemoryBank, clock: Clock
) -> None:
    one = WindowCounter(bank, "x", 1_000, 1)
    assert [await spend(one) for _ in range(50)] == [True] * 50
    assert bank.calls == 1
    assert one.left == 950
    assert await spend(one)
    assert bank.calls == 2


async def test_two_processes_never_spend_more_than_the_limit_and_nearly_all_of_it(
    bank: MemoryBank, clock: Clock
) -> None:
    both = [WindowCounter(bank, "x", 1_000, 1) for _ in range(2)]
    spent = await asyncio.gather(*(spend(both[n % 2]) for n in range(2_000)))
    assert sum(spent) == 1_000
    assert [one.left for one in both] == [0, 0]
    calls = bank.calls
    assert not await spend(both[0])
    assert bank.calls == calls


async def test_what_was_reserved_for_a_window_is_not_spent_in_the_next(
    bank: MemoryBank, clock: Clock
) -> None:
    one = WindowCounter(bank, "x", 100, 1)
    assert await spend(one)
    assert one.left == 99
    clock.now += 1
    assert one.take(1) is None
    assert await spend(one)
    assert sorted(bank.spent.values()) == [5, 5]
    assert one.reset_s == 1


async def test_a_reservation_that_comes_after_its_window_is_dropped(
    bank: MemoryBank, clock: Clock
) -> None:
    one = WindowCounter(bank, "x", 1, 1)
    first = asyncio.ensure_future(spend(one))
    while not bank.calls:
        await asyncio.sleep(0)
    clock.now += 1
    assert await first
    assert list(bank.spent.values()) == [1, 1]
    assert not await spend(one)


async def test_a_refused_batch_takes_nothing_from_smaller_ones(
    bank: MemoryBank, clock: Clock
) -> None:
    one = WindowCounter(bank, "x", 10, 86_400)
    assert await spend(one, 6)
    assert not await spend(one, 11)
    assert not await spend(one, 5)
    assert one.left == 4
    assert await spend(one, 4)
    assert not await spend(one)


async def test_what_is_given_back_can_be_spent_in_the_same_window_only(
    bank: MemoryBank, clock: Clock
) -> None:
    one = WindowCounter(bank, "x", 1, 1)
    assert await spend(one)
    one.give_back(1, one.window)
    assert one.take(1) is True
    assert not await spend(one)
    one.give_back(1, one.window - 1)
    assert not await spend(one)


async def test_a_new_limit_holds_at_once_and_keeps_what_was_spent(
    bank: MemoryBank, clock: Clock
) -> None:
    one = WindowCounter(bank, "x", 3, 1)
    assert [await spend(one) for _ in range(4)] == [True] * 3 + [False]
    one.set_limit(5)
    assert [await spend(one) for _ in range(3)] == [True] * 2 + [False]
    one.set_limit(4)
    assert not await spend(one)


async def test_while_redis_is_away_everything_passes_and_it_is_not_asked_each_time(
    bank: MemoryBank, clock: Clock
) -> None:
    bank.error = TimeoutError("away")
    one = WindowCounter(bank, "x", 2, 1)
    assert all(await asyncio.gather(*(spend(one) for _ in range(10))))
    assert [await spend(one) for _ in range(10)] == [True] * 10
    assert bank.calls == 1
    bank.error = None
    clock.now += window_counter.AWAY_S
    assert [await spend(one) for _ in range(3)] == [True, True, False]


async def test_those_who_wait_are_bounded(
    bank: MemoryBank, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_counter, "WAITING_MAX", 2)
    one = WindowCounter(bank, "x", 100, 1)
    first = [asyncio.ensure_future(spend(one)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaitError):
        one.wait(1, print)
    assert await asyncio.gather(*first) == [True, True]
    assert await spend(one)


def allowance(bank: WindowReservations, requests_per_s: int) -> LimitCounters:
    limits = ClientLimits(requests_per_s=requests_per_s, notifications_per_day=2**40)
    found = LimitCounters("shop", bank, limits, Settings())
    # As with every request, both are asked.
    for permits_of_one in (found.requests, found.notifications):
        permits_of_one.take(0)
    # Of the day so much is left that the headers tell of the second.
    found.notifications.give_back(2**40, found.notifications.window)
    return found


def test_headers_of_high_limits_are_made_again_after_a_moment_or_a_change(
    clock: Clock, bank: MemoryBank
) -> None:
    shop = allowance(bank, 1_000)
    shop.requests.give_back(10, shop.requests.window)
    first = shop.header_lines()
    assert shop.requests.take(1)
    assert shop.header_lines() == first
    clock.now += 2 * LINES_S
    assert shop.requests.take(1)
    assert shop.header_lines() != first
    second = shop.header_lines()
    clock.now -= 60
    assert shop.requests.take(1)
    assert shop.header_lines() != second
    shop.set(ClientLimits(requests_per_s=500, notifications_per_day=2**40))
    shop.requests.take(0)
    assert shop.header_lines().startswith("RateLimit-Limit: 500\r\n")


def test_headers_of_limits_that_are_counted_one_by_one_are_exact(
    clock: Clock, bank: MemoryBank
) -> None:
    shop = allowance(bank, 20)
    shop.requests.give_back(2, shop.requests.window)
    before = shop.header_lines()
    assert shop.requests.take(1)
    assert shop.header_lines() != before

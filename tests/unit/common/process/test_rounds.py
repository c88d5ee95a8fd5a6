import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from common.process.rounds import Rounds


@contextlib.asynccontextmanager
async def running(rounds: Rounds[int]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(rounds.run())
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.wait([task])


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_in_one_loop_turn_goes_in_one_round() -> None:
    done: list[list[int]] = []

    async def handle(items: list[int]) -> None:
        done.append(items)

    rounds = Rounds[int](handle, round_max=3, waiting_max=10)
    async with running(rounds):
        rounds.add(1)
        asyncio.get_running_loop().call_soon(rounds.add, 2)
        await turns()
        assert done == [[1, 2]]
        for item in range(7):
            rounds.add(item)
        await turns()
    assert done[1:] == [[0, 1, 2], [3, 4, 5], [6]]


async def test_rounds_never_overlap_and_what_comes_meanwhile_waits() -> None:
    under_way, done = 0, 0
    go_on = asyncio.Event()

    async def handle(items: list[int]) -> None:
        nonlocal under_way, done
        under_way += 1
        assert under_way == 1
        await go_on.wait()
        under_way -= 1
        done += len(items)

    rounds = Rounds[int](handle, round_max=2, waiting_max=3)
    async with running(rounds):
        for item in range(2):
            rounds.add(item)
        await turns()
        for item in range(3):
            assert not rounds.is_full
            rounds.add(item)
        assert rounds.is_full
        go_on.set()
        await turns(20)
    assert done == 5


async def test_what_is_taken_out_gets_no_round() -> None:
    done: list[list[int]] = []

    async def handle(items: list[int]) -> None:
        done.append(items + rounds.take_all())

    rounds = Rounds[int](handle, round_max=1, waiting_max=10)
    async with running(rounds):
        for item in range(3):
            rounds.add(item)
        await turns()
    assert done == [[0, 1, 2]]


async def test_an_error_of_a_round_ends_the_loop() -> None:
    async def handle(_: list[int]) -> None:
        raise KeyError("a mistake")

    rounds = Rounds[int](handle, round_max=1, waiting_max=1)
    rounds.add(1)
    with pytest.raises(KeyError):
        await rounds.run()

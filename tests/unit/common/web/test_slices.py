"""Slices of loop turns: everybody's work is done, and nobody's delays another's for long."""

import asyncio
import time

import pytest

from common.web import slices as module
from common.web.slices import SLICES_PER_TURN, TURN_S, Slices


async def turn() -> None:
    """Let the loop turn once, with whatever is ready now."""
    await asyncio.sleep(0)


@pytest.fixture
async def slices(monkeypatch: pytest.MonkeyPatch) -> Slices:
    """Slices whose turns are not ended by time, as a busy machine would do."""
    monkeypatch.setattr(module, "TURN_S", 60.0)
    return Slices(asyncio.get_running_loop())


async def test_work_is_done_in_the_order_in_which_it_was_queued_and_once(slices: Slices) -> None:
    done: list[int] = []
    for number in range(3 * SLICES_PER_TURN):
        slices.later(lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == []
    for _ in range(10):
        await turn()
    assert done == list(range(3 * SLICES_PER_TURN))


async def test_a_turn_has_so_many_slices(slices: Slices) -> None:
    done: list[int] = []
    for number in range(2 * SLICES_PER_TURN + 1):
        slices.later(lambda number=number: done.append(number))  # type: ignore[misc]
    counts = []
    for _ in range(4):
        await turn()
        counts.append(len(done))
    all_of_them = 2 * SLICES_PER_TURN + 1
    assert counts == [SLICES_PER_TURN, 2 * SLICES_PER_TURN, all_of_them, all_of_them]


async def test_slow_work_has_a_turn_to_itself(
    slices: Slices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TURN_S", TURN_S)
    done: list[str] = []

    def slow() -> None:
        time.sleep(2 * TURN_S)
        done.append("slow")

    slices.later(slow)
    slices.later(slow)
    await turn()
    assert done == ["slow"]
    await turn()
    assert done == ["slow", "slow"]


async def test_a_connection_that_queues_again_waits_for_all_others(slices: Slices) -> None:
    done: list[str] = []

    def greedy() -> None:
        done.append("greedy")
        if len(done) < 50:
            slices.later(greedy)

    slices.later(greedy)
    slices.later(lambda: done.append("modest"))
    await turn()
    assert done == ["greedy", "modest"]
    await turn()
    assert done == ["greedy", "modest", "greedy"]


async def test_work_that_fails_takes_nothing_from_what_is_behind_it(slices: Slices) -> None:
    done: list[str] = []
    failed: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))

    def broken() -> None:
        raise ValueError("broken")

    slices.later(broken)
    slices.later(lambda: done.append("next"))
    for _ in range(3):
        await turn()
    assert done == ["next"]
    assert [str(error) for error in failed] == ["broken"]
    slices.later(lambda: done.append("later"))
    await turn()
    assert done == ["next", "later"]

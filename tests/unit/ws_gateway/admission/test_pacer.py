"""Clients are let in one by one, and the loop turns in between."""

import asyncio
import itertools
import time
from functools import partial

import pytest

from ws_gateway.admission.pacer import QUIET_AFTER_S, TURN_S, Pacer


class Owner:
    """Whom a step is for."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def pacer_amid_traffic() -> Pacer:
    """One that hears another publication whenever it looks."""
    return Pacer(asyncio.get_running_loop(), itertools.count().__next__)


def busy() -> None:
    until = time.perf_counter() + TURN_S
    while time.perf_counter() < until:
        pass


async def test_a_step_is_taken_at_once_while_there_is_room() -> None:
    pacer, taken = pacer_amid_traffic(), []
    pacer.do(Owner(), lambda: taken.append(1))
    assert taken == [1]
    assert len(pacer) == 0


async def test_steps_that_fill_a_turn_are_taken_in_order_with_turns_between() -> None:
    pacer, log = pacer_amid_traffic(), list[object]()

    def step(number: int) -> None:
        log.append(number)
        busy()

    for number in range(3):
        pacer.do(Owner(), partial(step, number))
    assert log == [0]
    assert len(pacer) == 2
    while len(pacer):
        await asyncio.sleep(0)
        log.append("turn")
    assert [entry for entry in log if entry != "turn"] == [0, 1, 2]
    assert log.index("turn") < log.index(2)


async def test_nobody_overtakes_those_in_line() -> None:
    pacer, log = pacer_amid_traffic(), list[int]()
    pacer.do(Owner(), busy)
    pacer.do(Owner(), lambda: log.append(1))
    await asyncio.sleep(0)
    pacer.do(Owner(), lambda: log.append(2))
    while len(pacer):
        await asyncio.sleep(0)
    assert log == [1, 2]


async def test_what_a_step_asks_for_is_a_part_of_it() -> None:
    pacer, log = pacer_amid_traffic(), list[int]()

    def outer() -> None:
        busy()
        pacer.do(Owner(), lambda: log.append(1))
        log.append(2)

    pacer.do(Owner(), outer)
    assert log == [1, 2]


async def test_a_step_that_fails_costs_its_owner_alone(caplog: pytest.LogCaptureFixture) -> None:
    pacer, log, failing = pacer_amid_traffic(), list[int](), Owner()
    other = Owner()
    pacer.do(other, busy)
    pacer.do(failing, lambda: 1 // 0)  # type: ignore[arg-type]
    pacer.do(other, lambda: log.append(1))
    while len(pacer):
        await asyncio.sleep(0)
    assert failing.aborted
    assert not other.aborted
    assert log == [1]
    assert "a connection could not be registered" in caplog.text


async def test_more_is_let_in_at_once_while_nothing_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, heard = 1_000.0, 0
    monkeypatch.setattr("ws_gateway.admission.pacer.time.perf_counter", lambda: now)
    pacer = Pacer(asyncio.get_running_loop(), lambda: heard)

    def step() -> None:
        nonlocal now
        now += 1.5 * TURN_S

    async def turns_for(steps: int) -> int:
        for _ in range(steps):
            pacer.do(Owner(), step)
        turns = 0
        while len(pacer):
            turns += 1
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return turns

    await turns_for(1)
    assert await turns_for(5) == 0
    heard += 1
    await turns_for(1)
    assert await turns_for(5) >= 4
    now += QUIET_AFTER_S
    await turns_for(1)
    assert await turns_for(5) == 0

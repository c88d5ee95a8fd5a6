import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from common.process import periodic
from common.process.periodic import every
from common.telemetry.outage import Outage


class Ended(BaseException):
    """Ends the loop under test from a step or a pause."""


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    made = Outage("redis")
    made.back("another part")  # reached once, so that a loss is a warning at once
    monkeypatch.setattr(periodic, "redis_outage", made)
    return made


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the loop made, which take no time here."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


def steps(*outcomes: BaseException | None) -> Callable[[], Awaitable[None]]:
    """Make a step that has these outcomes, one call each, and then ends the loop."""
    left = iter(outcomes)

    async def step() -> None:
        outcome = next(left, Ended())
        if outcome is not None:
            raise outcome

    return step


def run(loop: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(Ended):
        asyncio.run(loop)


def messages(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.levelno >= logging.INFO
    ]


def test_a_pause_follows_each_call(paused: list[float]) -> None:
    run(every(2.0, steps(None, None)))
    assert paused == [2.0, 2.0]


def test_the_first_pause_may_come_first(paused: list[float]) -> None:
    run(every(2.0, steps(None), waits_first=True))
    assert paused == [2.0, 2.0]


def test_an_outage_is_logged_once_and_so_is_its_end(
    outage: Outage, paused: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lost = OSError("refused")
    run(every(1.0, steps(None, lost, lost, lost, None, None), part="leases"))
    assert messages(caplog) == [
        ("WARNING", "redis does not answer"),
        ("INFO", "redis answers again"),
    ]
    assert len(paused) == 6
    assert not outage


def test_pauses_during_an_outage_may_differ_and_begin_anew_with_the_next(
    outage: Outage, paused: list[float]
) -> None:
    def retries() -> Iterator[float]:
        yield from (0.1, 0.2, 0.3)

    lost = TimeoutError()
    run(every(1.0, steps(lost, lost, None, lost), part="leases", retries=retries))
    assert paused == [0.1, 0.2, 1.0, 0.1]


def test_an_error_that_is_not_of_redis_ends_the_loop(outage: Outage) -> None:
    with pytest.raises(KeyError):
        asyncio.run(every(0.0, steps(KeyError("a mistake")), part="leases"))


def test_a_loop_without_a_part_leaves_all_errors_to_its_step(outage: Outage) -> None:
    with pytest.raises(OSError, match="refused"):
        asyncio.run(every(0.0, steps(OSError("refused"))))
    assert not outage

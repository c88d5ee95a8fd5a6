"""Readiness: what the last probe said, for how long that counts, and what is logged of it."""

import asyncio
import logging

import pytest

from common.telemetry import outage, readiness
from common.telemetry.outage import Outage
from common.telemetry.readiness import STALE_AFTER_S, Readiness


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Outage:
    """The only store of this process; the process is not yet about to end."""
    monkeypatch.setattr(outage, "_outages", [])
    monkeypatch.setattr(outage, "_leaving", False)
    return Outage("store")


class Clock:
    """`time` as the module under test sees it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(readiness, "time", clock)
    return clock


class Probe:
    """A probe that says what it is told to say; an exception is raised."""

    def __init__(self, said: str | Exception | None = None) -> None:
        self.said = said
        self.count = 0

    async def __call__(self) -> str | None:
        self.count += 1
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


async def test_it_is_not_ready_until_a_probe_has_succeeded() -> None:
    one = Readiness(Probe(), {"mode": "open"})
    assert one.status() == (
        False,
        {"status": "not ready", "reason": "not probed yet", "mode": "open"},
    )
    await one.check()
    assert one.status() == (True, {"status": "ready", "mode": "open"})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("the door is shut", "the door is shut"),
        (OSError("no route"), "OSError: no route"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
async def test_the_reason_is_the_probe_s_word_or_its_error(
    said: str | Exception, reason: str
) -> None:
    probe = Probe()
    one = Readiness(probe)
    await one.check()
    probe.said = said
    await one.check()
    assert one.status() == (False, {"status": "not ready", "reason": reason})
    probe.said = None
    await one.check()
    assert one.status()[0]


async def test_a_probe_that_does_not_come_back_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PROBE_TIMEOUT_S", 0.05)

    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    one = Readiness(hangs)
    async with asyncio.timeout(10):
        await one.check()
    assert "did not come back" in one.status()[1]["reason"]


async def test_a_success_counts_only_for_a_while(clock: Clock) -> None:
    one = Readiness(Probe())
    await one.check()
    clock.now += STALE_AFTER_S
    assert one.status()[0]
    clock.now += 0.1
    assert not one.status()[0]


async def test_who_drains_is_not_ready_whatever_the_probe_says() -> None:
    one = Readiness(Probe(), {"mode": "open"})
    await one.check()
    one.drain()
    assert one.status() == (False, {"status": "draining", "mode": "open"})


async def test_notes_are_those_of_now() -> None:
    notes: dict[str, str] = {}
    one = Readiness(Probe(), notes)
    notes["kafka"] = "too far behind"
    assert one.status()[1]["kafka"] == "too far behind"


def levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    found = [record.levelno for record in caplog.records if record.name == "roomcast.readiness"]
    caplog.clear()
    return found


async def test_it_warns_once_when_a_process_that_was_ready_no_longer_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    probe = Probe("starting")
    one = Readiness(probe)
    await one.check()
    await one.check()
    assert levels(caplog) == [logging.INFO]
    probe.said = None
    await one.check()
    await one.check()
    assert levels(caplog) == [logging.INFO]
    probe.said = "gone"
    await one.check()
    await one.check()
    assert levels(caplog) == [logging.WARNING]


async def test_a_start_that_takes_too_long_is_a_warning(
    caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    caplog.set_level(logging.INFO)
    one = Readiness(Probe("starting"))
    await one.check()
    clock.now += outage.START_S + 1
    await one.check()
    await one.check()
    assert levels(caplog) == [logging.INFO, logging.WARNING]


async def test_an_outage_that_is_known_is_no_warning_of_its_own(
    caplog: pytest.LogCaptureFixture, store: Outage
) -> None:
    caplog.set_level(logging.INFO)
    probe = Probe()
    one = Readiness(probe)
    await one.check()
    levels(caplog)
    store.lost("a part", OSError("away"))
    probe.said = "the store is away"
    await one.check()
    assert levels(caplog) == [logging.INFO]


async def test_what_a_process_that_drains_leaves_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    probe = Probe()
    one = Readiness(probe)
    await one.check()
    levels(caplog)
    one.drain()
    probe.said = "the door is shut"
    await one.check()
    assert levels(caplog) == [logging.INFO]

import asyncio
import logging

import pytest

from common.telemetry import outage, readiness
from common.telemetry.readiness import Readiness


@pytest.fixture
def reasons() -> list[str | None]:
    """What the probe answers, one after the other; the last one again and again."""
    return [None, "the lead was given up"]


@pytest.fixture
def probed(reasons: list[str | None], monkeypatch: pytest.MonkeyPatch) -> Readiness:
    # What other tests lost is none of its business, nor theirs that this one leaves.
    monkeypatch.setattr(outage, "_outages", [])
    monkeypatch.setattr(outage, "_leaving", False)
    monkeypatch.setattr(readiness, "export_build", lambda: None)

    async def probe() -> str | None:
        return reasons.pop(0) if len(reasons) > 1 else reasons[0]

    return Readiness(probe)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_process_that_was_ready_and_no_longer_is_warns_once(
    probed: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        asyncio.run(probed.check())
    assert warnings(caplog) == ["not ready"]


def test_a_process_that_drains_does_not_warn_of_what_it_leaves(
    probed: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(probed.check())
    probed.drain()
    asyncio.run(probed.check())
    outage.Outage("redis").lost("leases", OSError(111, "refused"))
    outage.Outage("kafka").noticed("requests", ValueError("refused"))
    assert warnings(caplog) == []
    assert probed.status()[1]["status"] == "draining"


def test_an_outage_explains_what_is_not_ready_until_shortly_after_its_end(
    probed: Readiness, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    store = outage.Outage("redis", clock=lambda: now)
    asyncio.run(probed.check())
    store.back("leases")
    store.lost("leases", OSError(111, "refused"))
    store.back("leases")
    caplog.clear()
    asyncio.run(probed.check())
    assert warnings(caplog) == []
    now += outage.RECENT_S
    asyncio.run(probed.check())
    assert warnings(caplog) == ["not ready"]

import logging

import pytest
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from common.telemetry.outage import RECENT_S, START_S, Outage, is_any_recent

AWAY = RedisConnectionError("refused")


class Watched:
    """An outage with a clock of the test's, and what it logs from INFO on."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 1000.0
        self.outage = Outage("redis", clock=lambda: self.now)
        self._caplog = caplog

    def logged(self) -> list[tuple[str, str]]:
        found = [
            (record.levelname, record.getMessage())
            for record in self._caplog.records
            if record.levelno >= logging.INFO
        ]
        self._caplog.clear()
        return found


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.DEBUG, "roomcast.outage")
    return Watched(caplog)


def reached(watched: Watched) -> Outage:
    watched.outage.back("leases")
    assert watched.logged() == []
    return watched.outage


def test_whatever_loses_it_it_is_said_once_and_once_that_it_is_back(watched: Watched) -> None:
    outage = reached(watched)
    for _ in range(30):
        for part in ("loop", "door", "leases"):
            outage.lost(part, AWAY)
            outage.lost(part, BusyLoadingError("loading"))
            outage.lost(part, OSError(111, "refused"))
            outage.lost(part, ResponseError("LOADING Valkey is loading the dataset in memory"))
    assert watched.logged() == [("WARNING", "redis does not answer")]
    assert is_any_recent()
    outage.back("leases")
    outage.lost("door", AWAY)
    outage.back("loop")
    assert watched.logged() == []
    outage.back("door")
    assert watched.logged() == [("INFO", "redis answers again")]
    assert not outage
    watched.now += RECENT_S
    outage.lost("door", AWAY)
    assert watched.logged() == [("WARNING", "redis does not answer")]
    outage.back("door")


def test_a_refusal_is_news_of_its_own(watched: Watched) -> None:
    outage = reached(watched)
    outage.lost("loop", AWAY)
    outage.lost("loop", OutOfMemoryError("command not allowed"))
    outage.lost("door", OutOfMemoryError("command not allowed"))
    outage.lost("door", ResponseError("WRONGTYPE Operation against a key"))
    assert [text for _, text in watched.logged()] == [
        "redis does not answer",
        *["redis refuses a request"] * 2,
    ]


def test_what_was_never_reached_is_given_time_to_start(watched: Watched) -> None:
    outage = watched.outage
    outage.lost("loop", AWAY)
    watched.now += START_S - 1
    outage.lost("loop", AWAY)
    assert watched.logged() == [("INFO", "redis does not answer")]
    watched.now += 2
    outage.lost("loop", AWAY)
    outage.lost("loop", AWAY)
    assert watched.logged() == [("WARNING", "redis does not answer")]


def test_who_only_notices_gives_it_the_same_time_to_start(watched: Watched) -> None:
    outage = watched.outage
    outage.noticed("limits", AWAY)
    watched.now += START_S - 1
    outage.noticed("tickets", AWAY)
    assert watched.logged() == [("INFO", "redis does not answer")] * 2
    outage.noticed("tickets", ResponseError("NOPERM no right"))
    assert watched.logged() == [("WARNING", "redis refuses a request")]
    watched.now += RECENT_S
    outage.noticed("limits", AWAY)
    assert watched.logged() == [("WARNING", "redis does not answer")]


def test_a_refusal_at_the_start_is_a_warning_at_once(watched: Watched) -> None:
    watched.outage.lost("loop", ResponseError("NOPERM no right"))
    assert watched.logged() == [("WARNING", "redis refuses a request")]


def test_who_only_notices_holds_nothing_open_and_does_not_repeat_itself(watched: Watched) -> None:
    outage = reached(watched)
    outage.noticed("receipts", AWAY)
    outage.noticed("receipts", AWAY)
    assert watched.logged() == [("WARNING", "redis does not answer")]
    assert not outage
    watched.now += RECENT_S
    outage.lost("loop", AWAY)
    assert watched.logged() == [("WARNING", "redis does not answer")]
    outage.noticed("receipts", AWAY)
    assert watched.logged() == []
    outage.back("loop")
    assert outage.is_recent
    watched.now += RECENT_S
    assert not outage.is_recent

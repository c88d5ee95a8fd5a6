"""The limit of open files follows the number of connections, as far as it can."""

import logging
import resource

import pytest

from ws_gateway.upkeep.open_files import RESERVED, raise_open_files

UNLIMITED = resource.RLIM_INFINITY


class Limits:
    """Limits of the system, as far as this process may know."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        self.now = limits


@pytest.mark.parametrize(("soft", "hard"), [(100, UNLIMITED), (100, 100_000)])
def test_it_is_raised_to_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int
) -> None:
    limits = Limits(monkeypatch, soft, hard)
    assert raise_open_files(1_000) == 1_000
    assert limits.now == (1_000 + RESERVED, hard)


def test_a_limit_that_is_high_enough_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft in (5_000, UNLIMITED):
        limits = Limits(monkeypatch, soft, UNLIMITED)
        assert raise_open_files(1_000) == 1_000
        assert limits.now == (soft, UNLIMITED)


@pytest.mark.parametrize(("asked_for", "level"), [(True, "WARNING"), (False, "INFO")])
def test_fewer_fit_under_a_hard_limit_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked_for: bool,
    level: str,
) -> None:
    caplog.set_level(logging.INFO)
    limits = Limits(monkeypatch, 100, 500)
    assert raise_open_files(1_000, asked_for=asked_for) == 500 - RESERVED
    assert limits.now == (500, 500)
    (record,) = caplog.records
    assert record.levelname == level

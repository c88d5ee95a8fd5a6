"""Failed attempts by address."""

from common.auth.failed_attempts import ADDRESSES_MAX, WINDOW_S, FailedAttempts


def test_an_address_waits_from_its_last_allowed_failure_until_its_minute_is_over() -> None:
    attempts = FailedAttempts(3)
    for now in (100.0, 101.0):
        attempts.note("a", now)
        assert attempts.wait_s("a", now) == 0
    attempts.note("a", 102.0)
    assert attempts.wait_s("a", 110.0) == WINDOW_S - 10
    assert attempts.wait_s("b", 110.0) == 0
    assert attempts.wait_s("a", 100.0 + WINDOW_S) == 0
    assert not attempts.any_recent
    attempts.note("a", 200.0)
    assert attempts.wait_s("a", 200.0) == 0


def test_a_failure_after_the_minute_begins_another_one() -> None:
    attempts = FailedAttempts(2)
    for now in (0.0, WINDOW_S + 1):
        attempts.note("a", now)
    assert attempts.wait_s("a", WINDOW_S + 2) == 0
    attempts.note("a", WINDOW_S + 2)
    assert attempts.wait_s("a", WINDOW_S + 2) == WINDOW_S - 1


def test_of_many_addresses_those_that_failed_longest_ago_are_forgotten() -> None:
    attempts = FailedAttempts(1)
    for number in range(ADDRESSES_MAX + 1):
        attempts.note(str(number), float(number) / ADDRESSES_MAX)
    assert len(attempts) == ADDRESSES_MAX
    assert attempts.wait_s("0", 1.0) == 0
    assert attempts.wait_s("1", 1.0) > 0


def test_0_counts_nothing() -> None:
    attempts = FailedAttempts(0)
    attempts.note("a", 1.0)
    assert attempts.wait_s("a", 1.0) == 0
    assert not attempts.any_recent

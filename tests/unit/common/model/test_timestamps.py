"""Times as clients read them, and as Redis and PostgreSQL keep them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.model.timestamps import format_time, from_unix_ms, unix_ms
from tests.support.examples import examples

FIRST_MS = -62_135_596_800_000
LAST_MS = 253_402_300_799_999
"""0001-01-01 and the end of 9999."""

moments_ms = st.integers(FIRST_MS, LAST_MS)


@examples(150)
@given(moments_ms)
def test_a_time_comes_back_from_its_text(milliseconds: int) -> None:
    text = format_time(milliseconds)
    assert len(text) == len("2026-11-21T04:00:00.123Z")
    assert unix_ms(datetime.fromisoformat(text)) == milliseconds


@examples(150)
@given(moments_ms, moments_ms)
def test_texts_sort_as_their_times_do(one: int, other: int) -> None:
    assert (format_time(one) < format_time(other)) == (one < other)


@examples(150)
@given(moments_ms)
def test_a_moment_comes_back_from_its_unix_time(milliseconds: int) -> None:
    assert unix_ms(from_unix_ms(milliseconds)) == milliseconds


def test_the_zone_of_a_moment_does_not_matter() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert unix_ms(noon.astimezone(timezone(timedelta(hours=5, minutes=30)))) == unix_ms(noon)


@pytest.mark.parametrize(
    ("microsecond", "expected"), [(0, 0), (999, 0), (1_000, 1), (999_999, 999)]
)
def test_what_is_less_than_a_millisecond_is_cut_off(microsecond: int, expected: int) -> None:
    assert unix_ms(datetime(1970, 1, 1, microsecond=microsecond, tzinfo=UTC)) == expected


@pytest.mark.parametrize("milliseconds", [FIRST_MS - 1, LAST_MS + 1, 10**30])
def test_a_year_of_other_than_four_digits_is_refused(milliseconds: int) -> None:
    with pytest.raises(OverflowError):
        from_unix_ms(milliseconds)

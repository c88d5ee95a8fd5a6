"""What parameters are taken, and what is made of them."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.web.parameters import (
    CURSOR_PATTERN,
    CursorPlace,
    cursor,
    cursor_text,
    flag,
    moment,
    one_of,
)
from tests.support.examples import examples

names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=128)


@examples(200)
@given(st.integers(0, 10**14 - 1), names)
def test_a_cursor_says_where_it_was_made(ms: int, name: str) -> None:
    text = cursor_text(CursorPlace(ms, name))
    assert cursor(text) == CursorPlace(ms, name)
    assert re.search(CURSOR_PATTERN, text)


@pytest.mark.parametrize(
    "text", ["", "1", ".x", "-1.x", "1e3.x", "1.\n", "1" * 15 + ".x", "\u0661.x"]
)
def test_these_are_no_cursors(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        cursor(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T08:00:00Z", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        ("2026-11-21t08:00:00.1234567z", datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-21T08:00:00+02:00", datetime(2026, 11, 21, 6, tzinfo=UTC)),
        ("0001-01-01T00:00:00+23:00", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59-23:00", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_moments(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T08:00:00"]
)
def test_these_are_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 3339"):
        moment(text)


def test_words() -> None:
    assert flag("true")
    assert not flag("false")
    assert one_of("a", "b")("a") == "a"
    for read in (flag, one_of("a", "b")):
        with pytest.raises(ValueError, match="must be"):
            read("c")

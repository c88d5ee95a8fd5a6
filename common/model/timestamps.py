"""Times: RFC 3339 text, and Unix time in milliseconds."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final


@lru_cache(maxsize=16)
def format_time(unix_ms: int) -> str:
    """Format a time as RFC 3339 in UTC, for instance `2026-11-21T04:00:00.123Z`."""
    seconds, milliseconds = divmod(unix_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4)
def _to_the_second(unix_s: int) -> str:
    # Most calls are for the current second, and many for the current millisecond.
    return datetime.fromtimestamp(unix_s, UTC).isoformat()[: -len("+00:00")]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def unix_ms(moment: datetime) -> int:
    """Return the Unix time of a moment, in milliseconds."""
    return (moment - _EPOCH) // _MILLISECOND


def from_unix_ms(milliseconds: int) -> datetime:
    """Return the moment of a Unix time in milliseconds.

    Raises:
        OverflowError: its year does not have four digits.
    """
    return _EPOCH + milliseconds * _MILLISECOND

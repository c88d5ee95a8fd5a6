"""Times: RFC 3339 text, and Unix time in milliseconds."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final


def format_time(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds, for instance `2026-11-21T04:00:00.123Z`."""
    seconds, milliseconds = divmod(unix_ms, 1000)
    return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=4)
def _to_the_second(unix_s: int) -> str:
    # Most calls are for the second that is now.
    return datetime.fromtimestamp(unix_s, UTC).isoformat()[: -len("+00:00")]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def unix_ms(moment: datetime) -> int:
    """Unix time in milliseconds."""
    return (moment - _EPOCH) // _MILLISECOND


def from_unix_ms(milliseconds: int) -> datetime:
    """Moment of a Unix time in milliseconds.

    Raises:
        OverflowError: no year of four digits has it.
    """
    return _EPOCH + milliseconds * _MILLISECOND

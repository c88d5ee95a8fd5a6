"""Publications whose id tells when they were created, so that no index by id is needed for them."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from common.model.ids import made_at_ms

_BEFORE: Final = timedelta(milliseconds=10)
"""So long before its id was made, a dated notification was accepted; as a rule in the same ms."""
_NEVER: Final = (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))

Span = tuple[datetime, datetime]
"""First and last time, both included. One that ends before it begins has nothing in it."""

FOUND: Final = """(
    SELECT * FROM publications
    WHERE client = $1 AND notification = {id} AND dated AND created_at BETWEEN {first} AND {last}
    UNION ALL
    SELECT * FROM publications WHERE client = $1 AND notification = {id} AND NOT dated
)"""
"""SQL: the publications of a client ($1) with an id, the dated ones from first to last."""


def span_of(notification: str) -> Span:
    """Return the period in which an id's dated publications were created."""
    made = made_at_ms(notification)
    return _NEVER if made is None else _span(made)


@lru_cache(maxsize=256)
def _span(made: int) -> Span:
    # Under load, dozens of notifications are of the same millisecond.
    try:
        last = datetime.fromtimestamp(made // 1000, UTC) + timedelta(milliseconds=made % 1000)
    except (ValueError, OverflowError, OSError):
        # The id's time is in no year that there is.
        return _NEVER
    return last - _BEFORE, last


def is_dated(notification: str, created_at: datetime) -> bool:
    """Return whether `span_of` a notification's id contains its creation time."""
    first, last = span_of(notification)
    return first <= created_at <= last

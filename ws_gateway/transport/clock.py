"""Coarse time, for connections by the thousand."""

from dataclasses import dataclass


@dataclass(slots=True)
class Clock:
    """Monotonic seconds, moved on once a second by the sweep; connections share its values."""

    now: float

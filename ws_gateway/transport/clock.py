"""Coarse time, for connections by the thousand."""

import time


class Clock:
    """Seconds of `time.monotonic()`, moved on once a second by the sweep.

    Until the next tick `now` is the same object, so that connections share it.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = time.monotonic()

    def tick(self) -> None:
        """Move on."""
        self.now = time.monotonic()

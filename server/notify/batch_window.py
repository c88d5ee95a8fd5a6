"""Batch window: under load, a short wait so that more requests share the next call to Redis.

At a few thousand requests a second, each would have a call of its own, which costs this process and
Redis as much as a handful of requests in it. Then the next call waits after a reply, up to
`GATHER_S`; but no longer once as many requests wait as were recently unanswered at any one time:
then every client waits for its answer, and no more requests can come. So clients that send one
request after the other lose nothing, and a single one never waits.
"""

import asyncio
from collections.abc import Callable
from typing import Final

GATHER_S: Final = 0.001
GATHERED: Final = 16
"""Number of waiting requests that are sent at once, even before the previous call's reply."""
_WORTH_IT: Final = 4
"""Number of unanswered requests at one time from which a wait is worth it."""


class Gathering:
    """Wait for more requests, based on the number of unanswered ones.

    Args:
        loop: for its timers.
        on_end: called when a wait times out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._on_end = on_end
        self._unanswered = 0
        self._most = self._most_before = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """True while the next call waits for more requests."""
        return self._timer is not None

    def came(self, waiting: int) -> None:
        """Count a new request; it may end the wait.

        Args:
            waiting: requests that no call has taken yet, including this one.
        """
        self._unanswered += 1
        self._most = max(self._most, self._unanswered)
        if waiting >= self._enough():
            self.stop()

    def answered(self, count: int) -> None:
        """Count answered requests."""
        self._unanswered -= count

    def begin(self, waiting: int) -> None:
        """Start a wait if it is worth it, after the last running call is over.

        Args:
            waiting: requests that no call has taken yet.
        """
        enough = self._enough()
        # Only the time of two calls counts: older numbers don't predict the next requests.
        self._most_before, self._most = self._most, self._unanswered
        if enough >= _WORTH_IT and waiting < enough:
            self._timer = self._loop.call_later(GATHER_S, self._end)

    def stop(self) -> None:
        """End the wait."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _enough(self) -> int:
        return min(GATHERED, max(self._most, self._most_before))

    def _end(self) -> None:
        self._timer = None
        self._on_end()

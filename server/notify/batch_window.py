"""Whether requests are let come together for a moment before the next call to Redis.

At a few thousand requests a second each would have a call of its own, which costs this process and
Redis as much as a handful of requests in it. There the next call waits after a reply, up to
`GATHER_S`; but no longer once as many requests wait as were unanswered at any one time lately: then
every client waits for its answer, and nobody is left to wait for. So clients that send one request
after the other lose nothing, and a single one never waits.
"""

import asyncio
from collections.abc import Callable
from typing import Final

GATHER_S: Final = 0.001
GATHERED: Final = 16
"""Requests that are not made to wait for more, nor for the reply to those before them."""
_WORTH_IT: Final = 4
"""Requests that were unanswered at one time, from which on more are waited for."""


class Gathering:
    """Follows how many requests are unanswered.

    Args:
        loop: whose timers.
        on_end: called when the time of a wait is over.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._on_end = on_end
        self._unanswered = 0
        self._most = self._most_before = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether the next call is to wait."""
        return self._timer is not None

    def came(self, waiting: int) -> None:
        """Note a request; it may be the last one that is waited for.

        Args:
            waiting: requests that no call has taken yet, with this one.
        """
        self._unanswered += 1
        self._most = max(self._most, self._unanswered)
        if waiting >= self._enough():
            self.stop()

    def answered(self, count: int) -> None:
        """Note that so many requests were answered."""
        self._unanswered -= count

    def begin(self, waiting: int) -> None:
        """Wait from now on if it is worth it: a call is over, and no other is under way.

        Args:
            waiting: requests that no call has taken yet.
        """
        enough = self._enough()
        # Of the time of two calls: what was long ago does not tell who will come.
        self._most_before, self._most = self._most, self._unanswered
        if enough >= _WORTH_IT and waiting < enough:
            self._timer = self._loop.call_later(GATHER_S, self._end)

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _enough(self) -> int:
        return min(GATHERED, max(self._most, self._most_before))

    def _end(self) -> None:
        self._timer = None
        self._on_end()

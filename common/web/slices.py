"""Slices of loop turns, shared among connections with more work than fits into one.

A connection works up to the bounds of a slice and queues for the rest. Those in the queue get
slices in turn, for at most `TURN_S` of each loop turn, so that a connection with one request waits
for one slice of others and for the rest of that time, whatever they send.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

SLICE_REQUESTS: Final = 16
"""Most requests of one connection that are answered in a slice."""
SLICE_BYTES: Final = 64 * 1024
"""Bytes of one connection past which its slice is over."""
UNREAD_MAX_BYTES: Final = 64 * 1024
"""Bytes of a connection that wait for their turn, past which reading pauses."""
SLICES_PER_TURN: Final = 8
TURN_S: Final = 0.001
"""Time of a loop turn past which no further slice is given."""


class Slices:
    """The queue of one event loop.

    Args:
        loop: runs the slices.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_scheduled = False

    def later(self, slice_of_work: Callable[[], None]) -> None:
        """Queue work for a slice.

        Args:
            slice_of_work: called once, in a later loop turn.
        """
        self._waiting.append(slice_of_work)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        ends = time.monotonic() + TURN_S
        # A connection that queues again gets its next slice in a later turn.
        count = min(len(self._waiting), SLICES_PER_TURN)
        try:
            while count and self._waiting:
                count -= 1
                self._waiting.popleft()()
                if time.monotonic() >= ends:
                    break
        finally:
            self._is_scheduled = bool(self._waiting)
            if self._is_scheduled:
                self._loop.call_soon(self._run)

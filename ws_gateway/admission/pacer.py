"""Takes the work of a storm of connections in small helpings, between which live messages go on.

Thousands of connections that come back at once bring thousands of handshakes, registrations and
replays in a few turns of the event loop, which would do all of them before it reads the next
publication.
Here each of these steps waits in line once a turn has had `TURN_S` of them; `QUIET_TURN_S` while
nothing is published, since the more are let in at once, the fewer round trips to Redis they need.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger("roomcast.gateway")

TURN_S: Final = 0.001
"""Time for steps in one loop turn; the step that exceeds it is the last. A step takes about a
tenth of that."""
QUIET_TURN_S: Final = 0.01
QUIET_AFTER_S: Final = 0.5
"""Time without a publication after which the longer turn is used."""


class Owner(Protocol):
    """Owner of a step, for example a connection."""

    def abort(self) -> None:
        """Drop its connection."""


class Pacer:
    """Steps in the order in which they were asked for, some in each turn of the loop.

    What waits is bounded by the connections: each has at most one step in line.

    Args:
        loop: whose turns they are.
        heard: how many publications have come so far.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, heard: Callable[[], int]) -> None:
        self._loop = loop
        self._heard = heard
        self._heard_before = heard()
        self._quiet_at = float("-inf")
        self._line: deque[tuple[Owner, Callable[[], None]]] = deque()
        self._left_s = TURN_S
        self._scheduled = False
        self._in_step = False

    def __len__(self) -> int:
        """Number of waiting steps."""
        return len(self._line)

    def do(self, owner: Owner, step: Callable[[], None]) -> None:
        """Take a step: now, if this turn has room for it and nobody waits; else when it is due.

        A step that is asked for by another step is a part of it. If one fails, that is logged and
        its owner's connection is dropped.
        """
        if self._in_step:
            step()
        elif self._line or self._left_s <= 0:
            self._line.append((owner, step))
        else:
            self._take(owner, step)

    def _take(self, owner: Owner, step: Callable[[], None]) -> None:
        started = time.perf_counter()
        self._in_step = True
        try:
            step()
        except Exception:
            # One connection's step: the others in line must still have theirs.
            log.exception("a connection could not be registered")
            owner.abort()
        finally:
            self._in_step = False
        self._left_s -= time.perf_counter() - started
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._left_s = self._turn_s()
        while self._line and self._left_s > 0:
            self._take(*self._line.popleft())

    def _turn_s(self) -> float:
        now, heard = time.perf_counter(), self._heard()
        if heard != self._heard_before:
            self._heard_before, self._quiet_at = heard, now + QUIET_AFTER_S
        return QUIET_TURN_S if now >= self._quiet_at else TURN_S

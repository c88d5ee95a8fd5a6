"""WindowCounter of a client in a window of time, reserved in Redis and spent from memory.

A process reserves permits in chunks through the `limits` library and spends them without a round
trip. A window is a stretch of the clock (a second, a UTC day) whose number is in the key, so all
processes agree on its end, and permits reserved for one window are not spent in the next.

Guarantee: while Redis answers, at most the limit is spent in a window over all processes; a limit
below `2 * CHUNKS` is counted one by one and is exact. Of a higher one, a chunk per process may
stay unspent. While Redis does not answer, everything is let pass: requests that need Redis are
refused for that reason anyway.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from limits.aio.storage import RedisStorage
from redis.asyncio import Redis

from common.errors import REDIS_ERRORS, RoomcastError
from common.redis.keys import GlobalKeys
from common.telemetry.outage import redis_outage

log = logging.getLogger("roomcast.server")

CHUNKS: Final = 20
"""Number of chunks that a limit is divided into."""
CHUNK_MAX: Final = 1_000
"""Most permits of one limit that are lost with a process."""
WAITING_MAX: Final = 10_000
"""Most requests that may wait for permits in this process."""
AWAY_S: Final = 1.0
"""Seconds for which Redis is not asked after it did not answer."""
_LOOK_S: Final = 0.25


class TooManyWaitError(RoomcastError):
    """Too many requests already wait for permits in this process."""


class WindowReservations:
    """Store in which permits are reserved.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys) -> None:
        self._storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=keys.limits,
            connection_pool=redis.connection_pool,  # type: ignore[arg-type]  # it is passed on
        )
        self._away_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0
        """Number of waiting requests."""

    @property
    def away(self) -> bool:
        """True while Redis is not asked because it did not answer."""
        return time.monotonic() < self._away_until

    async def reserve(self, key: str, limit: int, period_s: int, amount: int) -> bool:
        """Reserve permits, all or none.

        Raises:
            redis.exceptions.RedisError, OSError: the outcome is unknown.
        """
        # Twice the period, so that the window never slides: its end is in the key.
        return await self._storage.acquire_sliding_window_entry(key, limit, 2 * period_s, amount)

    async def reserved(self, key: str, period_s: int) -> int:
        """Read the number of permits that all processes have reserved.

        Raises:
            redis.exceptions.RedisError, OSError: it does not answer.
        """
        return (await self._storage.get_sliding_window(key, 2 * period_s))[2]

    def failed(self, error: Exception) -> None:
        """Record that Redis did not answer."""
        if not self.away:
            redis_outage.noticed("limits", error)
        self._away_until = time.monotonic() + AWAY_S

    def start(self, permits: "WindowCounter") -> None:
        """Start reserving permits for the waiting requests."""
        task = asyncio.ensure_future(permits.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until no request is waiting."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


class WindowCounter:
    """WindowCounter of one client for one thing.

    Args:
        reservations: where they are reserved.
        name: of the client and the thing, in a key.
        limit: of each window.
        period_s: length of a window; windows begin at multiples of it in Unix time.
    """

    __slots__ = (
        "_asking",
        "_at_hand",
        "_chunk",
        "_ends",
        "_limit_text",
        "_line",
        "_looked",
        "_name",
        "_period_s",
        "_refused",
        "_reservations",
        "_unreserved",
        "_window",
        "exact",
        "limit",
        "taken_at",
    )  # fmt: skip

    def __init__(
        self, reservations: WindowReservations, name: str, limit: int, period_s: int
    ) -> None:
        self._reservations = reservations
        self._name = name
        self._period_s = period_s
        self._line: deque[tuple[int, Callable[[bool], None]]] = deque()
        self._asking = False
        self._window = -1
        self._at_hand = 0
        self._ends = 0.0
        self.taken_at = 0.0
        """Unix time (s) of the last `take`."""
        self.set_limit(limit)
        self._begin(time.time())

    def set_limit(self, limit: int) -> None:
        """Change the limit; what was spent in this window stays spent."""
        self.limit = limit
        self._limit_text = str(limit)
        self._chunk = max(1, min(limit // CHUNKS, CHUNK_MAX))
        self.exact = self._chunk == 1
        """True if permits are counted one by one."""
        self._ends = 0.0

    def take(self, cost: int) -> bool | None:
        """Spend permits.

        Returns:
            Whether there were enough; None: unknown, call `wait`.
        """
        self.taken_at = now = time.time()
        if now >= self._ends:
            self._begin(now)
        if self._line:
            return None
        left = self._at_hand - cost
        if left >= 0:
            self._at_hand = left
            return True
        return self._decide(cost)

    def wait(self, cost: int, then: Callable[[bool], None]) -> None:
        """Spend permits after the requests that wait already.

        Args:
            cost: how many.
            then: called once with whether there were enough.

        Raises:
            TooManyWaitError: too many wait.
        """
        if self._reservations.waiting >= WAITING_MAX:
            raise TooManyWaitError
        self._reservations.waiting += 1
        self._line.append((cost, then))
        if not self._asking:
            self._asking = True
            self._reservations.start(self)

    def give_back(self, cost: int, window: int) -> None:
        """Give back permits that were spent in a window for something that did not happen."""
        if window == self._window:
            self._at_hand += cost

    @property
    def window(self) -> int:
        """Number of the window in which permits were last spent."""
        return self._window

    @property
    def left(self) -> int:
        """WindowCounter that are left, as far as this process knows."""
        return self._at_hand + self._unreserved

    def headers(self) -> dict[str, str]:
        """Return headers with the limit, the rest of it, and the start of the next window."""
        return {
            "RateLimit-Limit": self._limit_text,
            "RateLimit-Remaining": str(self._at_hand + self._unreserved),
            "RateLimit-Reset": str(self.reset_s),
        }

    def header_lines(self) -> str:
        """Return the same headers as lines of a head, by the time of the last `take`."""
        return (
            f"RateLimit-Limit: {self._limit_text}\r\n"
            f"RateLimit-Remaining: {self._at_hand + self._unreserved}\r\n"
            f"RateLimit-Reset: {max(1, int(self._ends - self.taken_at) + 1)}\r\n"
        )

    @property
    def reset_s(self) -> int:
        """Seconds until the next window, at least 1."""
        return max(1, math.ceil((self._window + 1) * self._period_s - time.time()))

    async def look(self) -> int:
        """Ask Redis how many are left.

        Raises:
            redis.exceptions.RedisError, OSError: it does not answer.
        """
        now = time.time()
        if now >= self._ends:
            self._begin(now)
        window = self._window
        reserved = await self._reservations.reserved(self._key, self._period_s)
        if window == self._window:
            self._unreserved = max(0, self.limit - reserved)
            self._looked = now
        return self.left

    async def serve(self) -> None:
        """Reserve permits until no request is waiting."""
        try:
            while self._line:
                now = time.time()
                if now >= self._ends:
                    self._begin(now)
                found = self._decide(self._line[0][0])
                if found is None:
                    await self._reserve(self._line[0][0] - self._at_hand, now)
                else:
                    self._answer(found=found)
        except REDIS_ERRORS as error:
            self._reservations.failed(error)
        except Exception:
            # After any error, the waiting requests are answered: they are let pass below.
            log.exception("requests could not be counted against their client's limits")
        finally:
            self._asking = False
            while self._line:
                self._answer(found=True)

    @property
    def _key(self) -> str:
        return f"{self._name}/{self._window}"

    def _begin(self, now: float) -> None:
        window = int(now // self._period_s)
        if window != self._window:
            self._window = window
            self._at_hand = 0
        self._ends = (window + 1) * float(self._period_s)
        self._at_hand = min(self._at_hand, self.limit)
        self._unreserved = self.limit
        self._refused = self.limit + 1
        """Smallest amount that Redis refused in this window: it will refuse that again."""
        self._looked = 0.0

    def _decide(self, cost: int) -> bool | None:
        missing = cost - self._at_hand
        if missing <= 0:
            self._at_hand = -missing
            return True
        if missing >= self._refused or cost > self.limit:
            return False
        return True if self._reservations.away else None

    def _answer(self, *, found: bool) -> None:
        _, then = self._line.popleft()
        self._reservations.waiting -= 1
        try:
            then(found)
        except Exception:
            # One request's error: the others in line must still be answered.
            log.exception("a request failed after it had waited to be counted")

    async def _reserve(self, missing: int, now: float) -> None:
        # Near the limit, chunks get smaller, so that little stays unspent.
        amount = max(missing, min(self._chunk, self._refused // 2))
        window = self._window
        got = await self._reservations.reserve(self._key, self.limit, self._period_s, amount)
        if window != self._window:
            return
        if got:
            self._at_hand += amount
            self._unreserved = max(0, self._unreserved - amount)
        else:
            self._refused = min(self._refused, amount)
            self._unreserved = min(self._unreserved, amount - 1)
        if self._chunk == 1 or now - self._looked >= _LOOK_S:
            await self.look()

"""Outages of stores: logged once when a store is lost, and once when it is back.

A process has a dozen loops that use Redis. Each of them notices an outage by itself and retries;
all would log the same news. So they report to the one `Outage` of that store, which logs the first
loss, and the end when all loops that lost it have it back. A refusal for another reason (no memory,
no permission) is logged separately.

A store that was not reached yet is given time: at a start, it may be starting too. A process that
drains warns of no store: at a stop, they may be stopping too.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

log = logging.getLogger("roomcast.outage")

RECENT_S: Final = 10.0
"""Seconds after an outage in which delays are still blamed on it."""
START_S: Final = 30.0
"""Seconds that a store that was never reached may be away before it is a warning."""
_AWAY: Final = (OSError, TimeoutError, RedisConnectionError, RedisTimeoutError)
_STARTING: Final = ("LOADING", "MASTERDOWN")
"""First words of replies from a server that is still starting, as redis-py may pass them on."""
_outages: "list[Outage]" = []
_leaving = False


def leave() -> None:
    """Log every later loss at INFO at most: this process drains."""
    global _leaving
    _leaving = True


def is_any_recent() -> bool:
    """Return True if one of this process's stores is away, or was within the last `RECENT_S`."""
    return any(one.is_recent for one in _outages)


class Outage:
    """State of one store, as the parts of this process report it.

    Args:
        store: its name in the log.
        away: errors that mean only that it is away, besides those of connections.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        store: str,
        away: tuple[type[Exception], ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._away = (*_AWAY, *away)
        self._clock = clock
        self._lost_by: set[str] = set()
        self._kinds: set[str] = set()
        self._since = 0.0
        self._first_at: float | None = None
        self._warned = False
        self._was_reached = False
        self._ended_at = float("-inf")
        self._noticed_at: dict[str, float] = {}
        _outages.append(self)

    def __bool__(self) -> bool:
        """Return True if any part has lost it now."""
        return bool(self._lost_by)

    def lost(self, who: str, error: Exception) -> None:
        """Record that the store does not answer, or refuses.

        Args:
            who: the part of this process that lost it; it calls `back` when it has it again.
            error: as it was raised.
        """
        now = self._clock()
        if not self._lost_by:
            self._since = now
        self._lost_by.add(who)
        kind = self._kind(error)
        is_late = self._is_late(now)
        is_news = kind not in self._kinds or (is_late and not self._warned)
        level = logging.DEBUG
        if is_news:
            self._kinds.add(kind)
            # Only a store that is away may be starting; one that refuses has started.
            level = logging.WARNING if is_late or kind else logging.INFO
            self._warned = self._warned or level == logging.WARNING
        self._say(level, who, error, kind)

    def noticed(self, who: str, error: Exception) -> None:
        """Record an error of a part that works only on request, and so may never report `back`.

        The next `back` of any other part ends it.
        """
        kind = self._kind(error)
        now = self._clock()
        is_late = self._is_late(now)
        is_news = (
            kind not in self._kinds and now - self._noticed_at.get(kind, -RECENT_S) >= RECENT_S
        )
        level = logging.DEBUG
        if is_news:
            self._noticed_at[kind] = now
            level = logging.WARNING if is_late or kind else logging.INFO
        self._say(level, who, error, kind)

    def _is_late(self, now: float) -> bool:
        """Return True if the store had its time to start."""
        if self._first_at is None:
            self._first_at = now
        return self._was_reached or now - self._first_at >= START_S

    @property
    def is_recent(self) -> bool:
        """True if it is away, or was within the last `RECENT_S`."""
        return bool(self) or self._clock() - self._ended_at < RECENT_S

    def back(self, who: str) -> None:
        """Record that the store has served this part. Free if nothing was lost."""
        self._was_reached = True
        if who not in self._lost_by:
            return
        self._lost_by.discard(who)
        if self._lost_by:
            return
        log.info(
            "%s answers again",
            self._store,
            extra={"after_s": round(self._clock() - self._since, 1)},
        )
        self._kinds.clear()
        self._warned = False
        self._ended_at = self._clock()

    def _say(self, level: int, who: str, error: Exception, kind: str) -> None:
        log.log(
            min(level, logging.INFO) if _leaving else level,
            "%s %s",
            self._store,
            "refuses a request" if kind else "does not answer",
            extra={"part": who, "reason": str(error) or type(error).__name__},
        )

    def _kind(self, error: Exception) -> str:
        """Classify an error. Empty: the store is away. Else the reason of its refusal."""
        if isinstance(error, self._away) and not isinstance(error, AuthenticationError):
            return ""
        if type(error) is ResponseError:
            word = str(error).partition(" ")[0][:32]
            return "" if word in _STARTING else word
        return type(error).__name__


redis_outage = Outage("redis")
"""The outage of this process's Redis."""

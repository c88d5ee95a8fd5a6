"""Limits of each client, from the settings and its own record, and refusals past them.

The headers are those of draft-ietf-httpapi-ratelimit-headers-06.
"""

from collections.abc import Callable, Iterator
from typing import Final

from redis.asyncio import Redis

from common.accounting.usage import Outcome
from common.auth.client_directory import Directory
from common.auth.client_records import ClientLimits, ClientRecord
from common.auth.principal import OPEN, Principal
from common.config.settings import Settings
from common.jobs.planning import Bounds
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.redis.keys import GlobalKeys
from server.access.window_counter import TooManyWaitError, WindowCounter, WindowReservations

DAY_S: Final = 86_400
LINES_S: Final = 0.01
"""Seconds for which a client with high limits is sent the same headers."""
FAN_OUT_FREE_BYTES: Final = 65_536
"""A request that fans out less than this costs as much as any other: its bytes are not counted."""
_KIB: Final = 1_024
_RETRY_AFTER_S: Final = 1
Then = Callable[[Problem | None], None]
"""Called once: with a refusal, or None if it may go on."""


class LimitCounters:
    """Counters of what one client may still do.

    Args:
        client: its id.
        reservations: where permits are reserved.
        limits: the limits in its record.
        settings: the limits that its record leaves open.
    """

    __slots__ = (
        "_fan_out", "_lines", "_lines_at", "_settings", "accepted", "bounds", "lane_max", "limits",
        "notifications", "requests",
    )  # fmt: skip

    def __init__(
        self,
        client: str,
        reservations: WindowReservations,
        limits: ClientLimits,
        settings: Settings,
    ) -> None:
        self._settings = settings
        self._lines = ""
        self.lane_max = settings.client_lane_jobs
        """Jobs that may wait in a lane; 0: as many as the lane has room for."""
        self._lines_at = float("-inf")
        self.accepted = 0
        """Notifications that were queued since the count was last taken."""
        self.requests = WindowCounter(reservations, f"requests/{client}", 1, 1)
        self.notifications = WindowCounter(reservations, f"notifications/{client}", 1, DAY_S)
        self._fan_out = WindowCounter(reservations, f"fan-out/{client}", 1, 1)
        """Its permits are KiB."""
        self.set(limits)

    def set(self, limits: ClientLimits) -> None:
        """Change the limits to those in the client's new record."""
        settings = self._settings
        self.limits = limits
        self._lines_at = float("-inf")
        self.requests.set_limit(limits.requests_per_s or settings.client_requests_per_s)
        self.notifications.set_limit(
            limits.notifications_per_day or settings.client_notifications_per_day
        )
        fan_out_bytes = limits.fan_out_bytes_per_s or settings.client_fan_out_bytes_per_s
        self._fan_out.set_limit(max(1, fan_out_bytes // _KIB))
        self.bounds = Bounds(
            limits.recipients or settings.client_max_recipients,
            limits.message_max_bytes or settings.client_message_max_bytes,
        )

    def request(self, then: Then) -> None:
        """Spend one request."""
        _spend(self.requests, 1, then, _too_fast)

    def may_notify(self, count: int, fan_out_bytes: int) -> bool:
        """Spend notifications if enough are at hand and nothing else has to be spent."""
        return fan_out_bytes < FAN_OUT_FREE_BYTES and bool(self.notifications.take(count))

    def notify(self, count: int, fan_out_bytes: int, then: Then) -> None:
        """Spend notifications and their fan-out.

        Args:
            count: how many notifications.
            fan_out_bytes: of their messages and data, times targets.
            then: called with the outcome.
        """

        def go_on(problem: Problem | None) -> None:
            if problem is None:
                _spend(self.notifications, count, then, _too_many)
            else:
                then(problem)

        if fan_out_bytes < FAN_OUT_FREE_BYTES:
            go_on(None)
        else:
            cost = min(-(-fan_out_bytes // _KIB), self._fan_out.limit)
            _spend(self._fan_out, cost, go_on, _too_wide)

    def header_lines(self) -> str:
        """Return header lines about the limit with the smaller remaining share.

        Where permits are reserved in chunks, so that the numbers are approximate anyway, the lines
        may be `LINES_S` old.
        """
        requests, day = self.requests, self.notifications
        now = requests.taken_at
        if requests.exact or day.exact or not 0 <= now - self._lines_at < LINES_S:
            scarce = day if day.left * requests.limit < requests.left * day.limit else requests
            self._lines, self._lines_at = scarce.header_lines(), now
        return self._lines


class Limiter:
    """The allowances of all clients.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
        directory: the clients.
        settings: limits of a client whose record says nothing.
    """

    def __init__(
        self, redis: Redis, keys: GlobalKeys, directory: Directory, settings: Settings
    ) -> None:
        self._reservations = WindowReservations(redis, keys)
        self._directory = directory
        self._settings = settings
        self._counters: dict[str, LimitCounters] = {}
        directory.listeners.append(self._changed)

    def of(self, principal: Principal) -> LimitCounters | None:
        """Return the counters of the sender's client; None: no limits, as in open mode."""
        if principal is OPEN:
            return None
        return self._counters.get(principal.client) or self._new(principal.client)

    def accepted(self) -> Iterator[tuple[str, Outcome, int]]:
        """Take the counts of notifications queued for each client since the last call."""
        for client, counters in self._counters.items():
            count, counters.accepted = counters.accepted, 0
            if count:
                yield client, Outcome.ACCEPTED, count

    async def settle(self) -> None:
        """Wait until no request waits for a permit."""
        await self._reservations.settle()

    def _new(self, client: str) -> LimitCounters:
        record = self._directory.client(client)
        limits = ClientLimits() if record is None else record.limits
        found = self._counters[client] = LimitCounters(
            client, self._reservations, limits, self._settings
        )
        return found

    def _changed(self, record: ClientRecord) -> None:
        counters = self._counters.get(record.id)
        if counters is not None and counters.limits != record.limits:
            counters.set(record.limits)


def _spend(
    counter: WindowCounter, cost: int, then: Then, refusal: Callable[[WindowCounter], Problem]
) -> None:
    found = counter.take(cost)
    if found:
        then(None)
    elif found is not None:
        then(refusal(counter))
    else:
        try:
            counter.wait(cost, lambda got: then(None if got else refusal(counter)))
        except TooManyWaitError:
            then(
                Problem(
                    ProblemCode.OVERLOADED,
                    "too many requests wait; nothing was queued",
                    retry_after_s=_RETRY_AFTER_S,
                )
            )


def _too_fast(counter: WindowCounter) -> Problem:
    return Problem(
        ProblemCode.RATE_LIMITED,
        f"this client may send {counter.limit} requests per second",
        retry_after_s=counter.reset_s,
        headers=counter.headers(),
    )


def _too_many(counter: WindowCounter) -> Problem:
    return Problem(
        ProblemCode.QUOTA_EXCEEDED,
        f"this client may send {counter.limit} notifications per day (UTC), and "
        f"{counter.left} are left",
        retry_after_s=counter.reset_s,
        headers=counter.headers(),
    )


def _too_wide(counter: WindowCounter) -> Problem:
    return Problem(
        ProblemCode.FAN_OUT_LIMITED,
        f"this client may have {counter.limit} KiB per second fanned out (message and data, times "
        "targets); nothing was queued",
        retry_after_s=counter.reset_s,
        headers=counter.headers(),
    )

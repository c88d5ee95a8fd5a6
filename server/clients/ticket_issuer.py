"""Issuing of tickets: kept in Redis, with a bound per client and user."""

import math
from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from common.auth.tickets import Grant, new_ticket, seal, ticket_name
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.model.channels import scoped
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.redis.client import says_full
from common.redis.keys import GlobalKeys
from common.redis.scripts import Script
from common.telemetry.outage import redis_outage

USER_TICKETS_MAX: Final = 100
"""Most unused tickets of one user, so that no user takes up those of the client's others."""
WAITING_MAX: Final = 200
"""Most tickets of a server that may wait for Redis; one more is refused."""
_RETRY_AFTER_S: Final = 1
_TOO_MANY: Final = {1: "this client", 2: "this user"}


class TicketIssuer:
    """Issuer of tickets.

    Args:
        redis: a client with a short timeout; it makes at most `WAITING_MAX` connections.
        keys: those of no shard.
        settings: lifetime of tickets, and most of a client.
        is_nearly_full: whether Redis has no room for anything that can wait.
    """

    def __init__(
        self, redis: Redis, keys: GlobalKeys, settings: Settings, is_nearly_full: Callable[[], bool]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._script = Script("ticket_issue")
        self._most = settings.client_max_tickets
        self._is_nearly_full = is_nearly_full
        self._waiting = 0
        self.ttl_s = settings.ticket_ttl_s
        """Lifetime of a ticket in seconds."""

    async def issue(self, grant: Grant, client: str, user: str) -> str:
        """Make a ticket.

        Args:
            grant: the token and key that it carries.
            client: of the user.
            user: the user that it is for.

        Raises:
            Problem: 429 if there are too many unused ones; 503 if Redis is full or doesn't answer.
        """
        if self._is_nearly_full():
            raise _nearly_full()
        if self._waiting >= WAITING_MAX:
            raise _unavailable(ProblemCode.OVERLOADED, "too many requests wait; repeat")
        self._waiting += 1
        try:
            return await self._keep(grant, client, user)
        except REDIS_ERRORS as error:
            if says_full(error):
                raise _nearly_full() from None
            redis_outage.noticed("tickets", error)
            raise _unavailable(ProblemCode.REDIS_AWAY, "Redis does not answer; repeat") from None
        finally:
            self._waiting -= 1

    async def _keep(self, grant: Grant, client: str, user: str) -> str:
        ticket = new_ticket()
        name, owner = ticket_name(ticket), scoped(user, client)
        prefix = self._keys.tickets_prefix
        outcome = await self._script(
            self._redis,
            [self._keys.ticket(name), prefix + client, prefix + owner],
            [
                name,
                owner.encode() + b"\n" + seal(ticket, grant),
                self.ttl_s * 1000,
                self._most,
                USER_TICKETS_MAX,
            ],
        )
        if outcome[0]:
            raise Problem(
                ProblemCode.TOO_MANY_TICKETS,
                f"{_TOO_MANY[outcome[0]]} has as many unused tickets as there may be",
                retry_after_s=math.ceil(outcome[1] / 1000),
            )
        return ticket


def _nearly_full() -> Problem:
    return _unavailable(ProblemCode.REDIS_NEARLY_FULL, "Redis is nearly full; no ticket was made")


def _unavailable(code: ProblemCode, detail: str) -> Problem:
    return Problem(code, detail, retry_after_s=_RETRY_AFTER_S)

"""Redeems tickets, gathered per loop turn and taken out of Redis in one round trip."""

from collections.abc import Callable
from typing import Final

from redis.asyncio import Redis

from common.auth.tickets import Grant, is_ticket, ticket_name, unseal
from common.errors import REDIS_ERRORS
from common.model.problem_codes import ProblemCode
from common.process.rounds import Rounds
from common.redis.keys import GlobalKeys
from common.redis.scripts import Script
from common.telemetry.outage import redis_outage
from ws_gateway.protocol.messages import MessageError

WAITING_MAX: Final = 10_000
"""Tickets that may wait for Redis; one more is not looked at, and stays good."""
ROUND_MAX: Final = 100
"""Tickets of one round trip."""
NOT_ACCEPTED: Final = (
    "this ticket was used, has expired or was never given out: get a new one (POST /tickets)"
)

Then = Callable[[Grant | MessageError], None]
"""Called once: with what the ticket stands for, or why it is not accepted."""


class TicketDesk:
    """Takes tickets out of Redis, each of them once, over all gateways.

    Guarantee: at most one connection gets the grant of a ticket. If Redis does not answer, it may
    be none.

    Args:
        redis: with a short timeout; it makes one connection, when the first ticket comes.
        keys: those of no shard.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._script = Script("ticket_redeem")
        self._rounds = Rounds[tuple[str, Then]](
            self._round, round_max=ROUND_MAX, waiting_max=WAITING_MAX
        )

    def redeem(self, ticket: str, then: Then) -> None:
        """Take a ticket."""
        if not is_ticket(ticket):
            then(MessageError(ProblemCode.TICKET_NOT_ACCEPTED, NOT_ACCEPTED))
        elif self._rounds.is_full:
            then(MessageError(ProblemCode.UNAVAILABLE, "too many tickets wait; come back"))
        else:
            self._rounds.add((ticket, then))

    async def run(self) -> None:
        """Take what waits, until cancelled."""
        await self._rounds.run()

    async def _round(self, batch: list[tuple[str, Then]]) -> None:
        names = [ticket_name(ticket) for ticket, _ in batch]
        try:
            kept = await self._script(
                self._redis,
                [self._keys.ticket(name) for name in names],
                [self._keys.tickets_prefix, *names],
            )
        except REDIS_ERRORS as error:
            redis_outage.noticed("tickets", error)
            # Nor would the others be answered in time.
            batch += self._rounds.take_all()
            for _, then in batch:
                then(
                    MessageError(ProblemCode.UNAVAILABLE, "tickets can't be checked now; come back")
                )
            return
        for (ticket, then), one in zip(batch, kept, strict=True):
            then(_grant(ticket, one))


def _grant(ticket: str, kept: bytes | None) -> Grant | MessageError:
    try:
        return unseal(ticket, (kept or b"").partition(b"\n")[2])
    except ValueError:
        return MessageError(ProblemCode.TICKET_NOT_ACCEPTED, NOT_ACCEPTED)

"""Receipts from sockets, gathered per loop turn and written in one round trip."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from common.errors import REDIS_ERRORS
from common.events.event import EventKind
from common.events.receipts import FILLING, Receipts
from common.process.rounds import Rounds
from common.telemetry.outage import redis_outage

log = logging.getLogger("roomcast.gateway")

WAITING_MAX: Final = 20_000
"""Messages with receipts that may wait for Redis; one more is refused."""
ROUND_MAX: Final = 1_000
"""Messages of one round trip."""

_Waiting = tuple[list[str | bytes | int], "asyncio.Future[bool]"]


class ReceiptWriter:
    """Writes receipts in rounds, one at a time.

    Args:
        redis: where the event stream is.
        receipts: what a receipt looks like there.
    """

    def __init__(self, redis: Redis, receipts: Receipts) -> None:
        self._redis = redis
        self._receipts = receipts
        self._rounds = Rounds[_Waiting](self._round, round_max=ROUND_MAX, waiting_max=WAITING_MAX)

    async def write(
        self,
        kind: EventKind,
        client: str,
        user: str,
        notifications: Sequence[str],
        connection: str,
    ) -> bool:
        """Write the receipts of one user of a client application.

        Returns:
            Whether they are written, now or before; if not, they may be, and should be repeated.
        """
        if self._rounds.is_full:
            return False
        words = self._receipts.command(
            kind, user, notifications, connection=connection, client=client
        )
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._rounds.add((words, done))
        return await done

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        await self._rounds.run()

    async def _round(self, batch: list[_Waiting]) -> None:
        try:
            replies = await self._send(batch)
            missing = [one for one, reply in zip(batch, replies, strict=True) if _unknown(reply)]
            if missing:
                await self._redis.script_load(self._receipts.script.text)
                again = iter(await self._send(missing))
                replies = [next(again) if _unknown(reply) else reply for reply in replies]
        except REDIS_ERRORS as error:
            replies = [error] * len(batch)
        failed = [reply for reply in replies if isinstance(reply, Exception)]
        if failed:
            redis_outage.noticed("receipts", failed[0])
        for (_, done), reply in zip(batch, replies, strict=True):
            if not done.done():
                done.set_result(not isinstance(reply, Exception) and reply != FILLING)

    async def _send(self, batch: list[_Waiting]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for words, _ in batch:
            pipe.execute_command(*words)
        return await pipe.execute(raise_on_error=False)


def _unknown(reply: object) -> bool:
    return isinstance(reply, NoScriptError)

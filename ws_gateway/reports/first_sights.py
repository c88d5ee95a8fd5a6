"""Notes which users registered, so that broadcasts count for them from then on.

A registration is noted in Redis while its channels are opened, and answered after that. Redis
knows who was noted lately and makes an event of the others (`common/redis/lua/events/sight.lua`).
What it does not take is kept here, and tried again: the registration need not wait for it, and its
time stays.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.model.channels import BROADCAST_CHANNEL, scoped
from common.redis.keys import ShardKeys
from common.redis.scripts import Argument, Script
from common.telemetry.outage import redis_outage
from ws_gateway import metrics

KNOWN_MAX: Final = 100_000
"""Maximum number of users that Redis remembers as noted."""
KNOWN_S: Final = 3_600
"""Time Redis remembers them. Then they are noted again, in case their record was lost."""
ROUND_MAX: Final = 1_000
"""Users of one round trip."""
CALL_MAX: Final = 200
"""Users of one script call, hence of one event."""
GATHERED: Final = 4
"""With so many users or more in a round, others are let come together for `GATHER_S`."""
GATHER_S: Final = 0.01
ANSWER_S: Final = 1.0
"""A registration waits for this no longer."""
AGAIN_S: Final = 1.0
"""After so long what Redis did not take is tried again."""
WAITING_MAX: Final = 50_000
"""Users who wait to be tried again; what comes on top is dropped, and counted."""
FILLING: Final = -1
"""Reply of the script: the event stream is full, and nothing was written."""
_encode: Final = msgspec.json.Encoder().encode


class Sight:
    """One user's registration on its way.

    Attributes:
        is_settled: whether the registration may be answered.
    """

    __slots__ = ("_waiters", "client", "is_settled", "name", "since", "user")

    def __init__(self, client: str, user: str, since: float) -> None:
        self.client = client
        self.user = user
        self.name = scoped(user, client)
        self.since = since
        self.is_settled = False
        self._waiters: list[Callable[[], None]] = []

    def when_settled(self, then: Callable[[], None]) -> None:
        """Call back once it is settled."""
        self._waiters.append(then)

    def settle(self) -> None:
        """Let the registrations go on that wait for it."""
        self.is_settled = True
        waiters, self._waiters = self._waiters, []
        for then in waiters:
            then()


class Sights:
    """Notes users in rounds, one at a time.

    Args:
        redis: where the event stream is.
        keys: of the shard.
        settings: whether that stream has readers, and its bound.
        gateway: name of this gateway.
    """

    def __init__(self, redis: Redis, keys: ShardKeys, settings: Settings, gateway: str) -> None:
        self._redis = redis
        self._keys = keys
        self._bound = settings.events_bound
        self._is_on = bool(settings.reader_groups)
        self._gateway = gateway
        self._script = Script("sight")
        self._waiting: dict[str, Sight] = {}
        self._again: dict[str, Sight] = {}
        self._again_at = 0.0
        self._wanted = asyncio.Event()

    def note(self, client: str, user: str) -> Sight | None:
        """Note that a user of a client application registered just now.

        Returns:
            What the answer is to wait for, or None if nobody reads of it.
        """
        if not self._is_on:
            return None
        sight = Sight(client, user, time.monotonic())
        known = self._waiting.setdefault(sight.name, sight)
        self._wanted.set()
        return known

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        while True:
            wait_s = max(0.0, self._again_at - time.monotonic()) if self._again else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wanted.wait()
            self._wanted.clear()
            # What else this loop turn brings goes along.
            await asyncio.sleep(0)
            if self._again and time.monotonic() >= self._again_at:
                self._take_again()
            while self._waiting:
                if await self._round() >= GATHERED:
                    await asyncio.sleep(GATHER_S)

    async def flush(self) -> None:
        """Try once more to write what is noted."""
        self._take_again()
        for _ in range(1 + len(self._waiting) // ROUND_MAX):
            await self._round()

    def _take_again(self) -> None:
        again, self._again = self._again, {}
        for name, sight in again.items():
            known = self._waiting.setdefault(name, sight)
            known.since = min(known.since, sight.since)

    async def _round(self) -> int:
        names = list(islice(self._waiting, ROUND_MAX))
        round_ = [self._waiting.pop(name) for name in names]
        calls = _calls(round_)
        loop = asyncio.get_running_loop()
        patience = loop.call_later(ANSWER_S, _settle, round_)
        try:
            replies = await self._send(calls)
            if any(isinstance(reply, NoScriptError) for reply in replies):
                # It was not run then, and one that was run does nothing the second time.
                await self._redis.script_load(self._script.text)
                replies = await self._send(calls)
        except REDIS_ERRORS as error:
            replies = [error] * len(calls)
        except asyncio.CancelledError:
            self._keep(round_)
            raise
        finally:
            patience.cancel()
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, Exception):
                redis_outage.noticed("sights", reply)
            if isinstance(reply, Exception) or reply == FILLING:
                self._keep(call)
        _settle(round_)
        return len(round_)

    async def _send(self, calls: Sequence[Sequence[Sight]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        now = time.monotonic()
        for call in calls:
            words: list[Argument] = [
                self._gateway,
                scoped(BROADCAST_CHANNEL, call[0].client),
                self._bound,
                KNOWN_MAX,
                KNOWN_S,
            ]
            for sight in call:
                waited_ms = int((now - sight.since) * 1000)
                words += (sight.name, _encode(sight.user), waited_ms)
            keys = (self._keys.events, self._keys.sights)
            pipe.execute_command("EVALSHA", self._script.sha, len(keys), *keys, *words)
        return await pipe.execute(raise_on_error=False)

    def _keep(self, sights: Sequence[Sight]) -> None:
        if not self._again:
            self._again_at = time.monotonic() + AGAIN_S
        for sight in sights:
            if len(self._again) >= WAITING_MAX and sight.name not in self._again:
                metrics.sights_dropped.inc()
                continue
            known = self._again.setdefault(sight.name, sight)
            known.since = min(known.since, sight.since)


def _calls(sights: Sequence[Sight]) -> list[list[Sight]]:
    """Sights by client, at most `CALL_MAX` in each."""
    by_client: dict[str, list[Sight]] = {}
    for sight in sights:
        by_client.setdefault(sight.client, []).append(sight)
    return [
        found[first : first + CALL_MAX]
        for found in by_client.values()
        for first in range(0, len(found), CALL_MAX)
    ]


def _settle(sights: Sequence[Sight]) -> None:
    for sight in sights:
        if not sight.is_settled:
            sight.settle()

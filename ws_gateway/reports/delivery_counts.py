"""Number of sockets each publication was written to, reported in batches of counts."""

import asyncio
import logging
import time
from collections import deque
from functools import partial
from itertools import islice
from typing import Final

from redis.asyncio import Redis

from common.errors import REDIS_ERRORS
from common.events.event import EventKind
from common.events.payloads import Written, encode
from common.model.timestamps import format_time
from common.process.periodic import every
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from common.telemetry.outage import redis_outage
from ws_gateway import metrics
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.run import Run

log = logging.getLogger("roomcast.gateway")

REPORT_INTERVAL_S: Final = 1.0
RUNS_MAX: Final = 50_000
"""Runs that wait to be reported; what comes on top is counted as dropped."""
EVENTS_AT_ONCE: Final = 50
"""Written by one script call, so that neither Redis nor the fan-out is held up."""


class WriteCounts:
    """Gathers counts and writes them to the event stream, about once a second.

    A run is a first and a last offset and the number of sockets that all between were written to.
    """

    def __init__(self, redis: Redis, keys: ShardKeys, gateway: str) -> None:
        self._redis = redis
        self._keys = keys
        self._gateway = gateway
        self._script = Script("written")
        self._runs: dict[tuple[str, str], list[list[int]]] = {}
        self._count = 0

    def note(self, channel: Channel, items: list[Pending], written: int) -> None:
        """Note that these publications were written to so many sockets."""
        if not written:
            return
        first = last = 0
        epoch = ""
        for item in items:
            if item.is_reset:
                continue
            if first and (item.position.epoch != epoch or item.position.offset != last + 1):
                self._add(channel.name, epoch, first, last, written)
                first = 0
            epoch, last = item.position
            first = first or last
        if first:
            self._add(channel.name, epoch, first, last, written)

    def note_replayed(self, channel: HeardChannel, runs: list[Run]) -> None:
        """Note that one connection got publications from the log."""
        for run in runs:
            self._add(channel.name, run.epoch, run.first, run.last, 1)

    def _add(self, channel: str, epoch: str, first: int, last: int, sockets: int) -> None:
        runs = self._runs.setdefault((channel, epoch), [])
        if runs and runs[-1][1] == first - 1 and runs[-1][2] == sockets:
            runs[-1][1] = last
            return
        if self._count >= RUNS_MAX:
            metrics.written_dropped.inc()
            return
        self._count += 1
        runs.append([first, last, sockets])

    async def run(self) -> None:
        """Report, until cancelled."""
        report = partial(self.report, spread_s=REPORT_INTERVAL_S / 2)
        await every(REPORT_INTERVAL_S, report, waits_first=True)

    async def report(self, *, spread_s: float = 0.0) -> None:
        """Write what was gathered; what Redis does not take is kept for the next call.

        So is what was not written when the call is cancelled.

        Args:
            spread_s: about how long to take over it.
        """
        runs, self._runs, self._count = self._runs, {}, 0
        if not runs:
            return
        at = format_time(time.time_ns() // 1_000_000)
        waiting = deque(runs.items())
        pause_s = spread_s * EVENTS_AT_ONCE / len(waiting)
        try:
            while waiting:
                chunk = list(islice(waiting, EVENTS_AT_ONCE))
                arguments: list[str | bytes] = [EventKind.WRITTEN, self._gateway]
                for (channel, epoch), found in chunk:
                    counted = [(first, last, sockets) for first, last, sockets in found]
                    arguments += (channel, encode(Written(self._gateway, epoch, counted, at)))
                await self._script(self._redis, [self._keys.events], arguments)
                for _ in chunk:
                    waiting.popleft()
                if waiting and pause_s:
                    await asyncio.sleep(pause_s)
        except REDIS_ERRORS as error:
            redis_outage.noticed("written", error)
        finally:
            for (channel, epoch), found in waiting:
                for first, last, sockets in found:
                    self._add(channel, epoch, first, last, sockets)

"""All channels of a gateway: opened for those who want to hear them, kept without gaps, closed.

Opening: subscribe, wait for the confirmation, read the position, then let connections in. Gaps are
found at the next publication, when the subscription was lost, and by a periodic comparison of
positions, which also finds a lost last message; they are filled from the channel's log.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from common.errors import REDIS_ERRORS
from common.model.publication import CLOSE_DELETED, SIGNAL, Position, parse_publication
from common.process.backoff import jittered
from common.redis.keys import ShardKeys
from common.telemetry.outage import redis_outage
from ws_gateway import metrics
from ws_gateway.channels.channel import Channel, State
from ws_gateway.channels.fan_out import FanOut
from ws_gateway.channels.log_reader import LogReader, Standing
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.subscription import Subscription
from ws_gateway.protocol.close_codes import CloseCode

log = logging.getLogger("roomcast.gateway")

OPEN_CHUNK: Final = 500
REPAIRS_AT_ONCE: Final = 16
LINGER_S: Final = 2.0
"""Time an empty channel stays subscribed, for connections that come back at once."""


class Hub:
    """Channels by their scoped names."""

    def __init__(
        self,
        keys: ShardKeys,
        reader: LogReader,
        loop: asyncio.AbstractEventLoop,
        inbound_max_bytes: int,
        on_written: Callable[[Channel, list[Pending], int], None],
    ) -> None:
        self._prefix = keys.pub_prefix
        self._reader = reader
        self._inbound_max_bytes = inbound_max_bytes
        self.subscription: Subscription | None = None
        self.fan_out = FanOut(loop, self._bound_inbound, on_written)
        self.channels: dict[str, Channel] = {}
        self._by_pub: dict[bytes, Channel] = {}
        self._opening: list[Channel] = []
        self._open_wanted = asyncio.Event()
        self._check_wanted = asyncio.Event()
        self._repairs: dict[Channel, asyncio.Task[None]] = {}
        self._repair_slots = asyncio.Semaphore(REPAIRS_AT_ONCE)
        self._empty: dict[Channel, None] = {}
        self._received = 0
        self.received = 0
        """Publications of all channels that came so far."""
        self.listeners: dict[bytes, Callable[[bytes], None]] = {}
        """Handlers of internal pub/sub channels, by name."""

    def wanted(self) -> list[bytes]:
        """Names in pub/sub of all that this gateway hears."""
        return [*self._by_pub, *self.listeners]

    # What connections ask for.

    def open(self, names: Iterable[str], ready: Callable[[list[Channel]], None]) -> None:
        """Call `ready` with the channels once all of them are live: at once, if they are.

        Args:
            names: scoped, such as `default/room:1`.
            ready: called with the channels in the same order.
        """
        names = tuple(names)
        channels = [self._channel(name) for name in names]
        waiting = [channel for channel in channels if channel.state is State.OPENING]
        if not waiting:
            ready(channels)
            return
        missing = len(waiting)

        def one_is_live() -> None:
            nonlocal missing
            missing -= 1
            if not missing:
                # Meanwhile, a channel that was live but empty may have been closed.
                self.open(names, ready)

        for channel in waiting:
            if channel.waiters is None:
                channel.waiters = []
            channel.waiters.append(one_is_live)

    def release(self, channel: Channel, now: float) -> None:
        """Note that a channel lost a member; it is closed if it stays empty."""
        if not channel.members and not channel.waiters:
            channel.empty_since = now
            self._empty[channel] = None

    def close_empty(self, now: float) -> None:
        """Unsubscribe from channels that have been empty for a while."""
        gone: list[Channel] = []
        for channel in list(self._empty):
            if channel.members or channel.waiters:
                del self._empty[channel]
            elif channel.is_quiet and now - (channel.empty_since or 0.0) >= LINGER_S:
                gone.append(channel)
        for channel in gone:
            del self._empty[channel]
            del self.channels[channel.name]
            del self._by_pub[self._pub(channel)]
        if gone and self.subscription:
            self.subscription.forget([self._pub(channel) for channel in gone])
        metrics.channels.set(len(self.channels))

    # What the subscription brings.

    def on_message(self, pub: bytes, payload: bytes) -> None:
        """Take one publication; what isn't one is counted and dropped."""
        channel = self._by_pub.get(pub)
        if channel is None:
            if listener := self.listeners.get(pub):
                listener(payload)
            return
        if payload.startswith(SIGNAL):
            self._signal(channel, payload)
            return
        try:
            publication = parse_publication(payload)
        except (ValueError, UnicodeDecodeError):
            metrics.malformed.inc()
            log.warning(
                "what was published on a channel is not a publication; it was dropped",
                extra={"channel": channel.name},
            )
            return
        self._received += 1
        before = channel.pending_bytes
        if channel.receive(publication):
            self.fan_out.enqueue(channel, channel.pending_bytes - before)
        elif channel.state is State.BEHIND and channel not in self._repairs:
            metrics.gaps.labels("publication").inc()
            self._repair(channel)

    @staticmethod
    def _signal(channel: Channel, payload: bytes) -> None:
        header, _, text = payload.partition(b"\n")
        origin = header[len(SIGNAL) :].decode(errors="replace")
        if header.endswith(SIGNAL + CLOSE_DELETED):
            for member in channel.snapshot:
                member.close(CloseCode.USER_DELETED)
            return
        for member in channel.snapshot:
            if member.id != origin:
                member.send(text)

    def on_read(self) -> None:
        """Send what one read brought."""
        metrics.received.inc(self._received)
        self.received += self._received
        self._received = 0
        self.fan_out.turn()

    def on_up(self) -> None:
        """Look for what was published while the subscription was not there."""
        self._check_wanted.set()

    # Long-lived loops.

    async def run_opening(self) -> None:
        """Open channels, many at a time, until cancelled."""
        retry = jittered()
        while True:
            await self._open_wanted.wait()
            self._open_wanted.clear()
            # Whatever else this loop turn brings is opened in the same round trips.
            await asyncio.sleep(0)
            batch, self._opening = self._opening, []
            try:
                for first in range(0, len(batch), OPEN_CHUNK):
                    await self._open(batch[first : first + OPEN_CHUNK])
            except REDIS_ERRORS as error:
                redis_outage.noticed("opening channels", error)
                self._opening += [c for c in batch if c.state is State.OPENING]
                self._open_wanted.set()
                await asyncio.sleep(next(retry))
            else:
                retry = jittered()

    async def run_checks(self, interval_s: float) -> None:
        """Compare positions with Redis, periodically and when the link came back."""
        retry = jittered()
        while True:
            try:
                async with asyncio.timeout(interval_s):
                    await self._check_wanted.wait()
            except TimeoutError:
                pass
            found_by = "reconnect" if self._check_wanted.is_set() else "check"
            self._check_wanted.clear()
            try:
                await self._check(found_by)
                redis_outage.back("positions")
                retry = jittered()
            except REDIS_ERRORS as error:
                redis_outage.lost("positions", error)
                self._check_wanted.set()
                await asyncio.sleep(next(retry))

    async def close(self) -> None:
        """End the repairs that are under way."""
        tasks = list(self._repairs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # How it is done.

    def _channel(self, name: str) -> Channel:
        channel = self.channels.get(name)
        if channel is None:
            channel = Channel(name, name.partition("/")[2])
            self.channels[name] = channel
            self._by_pub[self._pub(channel)] = channel
            self._opening.append(channel)
            self._open_wanted.set()
        return channel

    def _pub(self, channel: Channel) -> bytes:
        return (self._prefix + channel.name).encode()

    async def _open(self, channels: list[Channel]) -> None:
        assert self.subscription is not None
        await self.subscription.subscribe([self._pub(channel) for channel in channels])
        found = await self._reader.positions([channel.name for channel in channels], to_begin=True)
        for channel, standing in zip(channels, found, strict=True):
            before = channel.pending_bytes
            if channel.open_at(standing.position):
                self.fan_out.enqueue(channel, channel.pending_bytes - before)
            if channel.state is State.BEHIND:
                self._repair(channel)
            waiters, channel.waiters = channel.waiters, None
            for waiter in waiters or ():
                waiter()
            if not channel.members:
                channel.empty_since = 0.0
                self._empty[channel] = None
        self.fan_out.turn()
        metrics.channels.set(len(self.channels))

    async def _check(self, found_by: str) -> None:
        assert self.subscription is not None
        live = [channel for channel in self.channels.values() if channel.state is State.LIVE]
        for first in range(0, len(live), OPEN_CHUNK):
            chunk = live[first : first + OPEN_CHUNK]
            at_least = [channel.position for channel in chunk]
            found = await self._reader.positions([channel.name for channel in chunk])
            differing = [
                (channel, standing.position, known)
                for channel, standing, known in zip(chunk, found, at_least, strict=True)
                if self._is_off(channel, standing.position, known)
                and not self._adopt(channel, standing)
            ]
            self.fan_out.turn()
            if differing:
                # What Redis had published by then may still be on its way to here.
                await self.subscription.barrier()
            for channel, position, known in differing:
                if self._is_off(channel, position, known):
                    channel.state = State.BEHIND
                    metrics.gaps.labels(found_by).inc()
                    self._repair(channel)
            await asyncio.sleep(0)

    def _adopt(self, channel: Channel, standing: Standing) -> bool:
        before = channel.pending_bytes
        adopted = channel.adopt(standing.position, standing.before)
        if adopted:
            self.fan_out.enqueue(channel, channel.pending_bytes - before)
        return adopted

    @staticmethod
    def _is_off(channel: Channel, position: Position, known: Position) -> bool:
        """Return whether a channel is behind Redis, or Redis behind the position known when asked.

        Redis is behind if the channel's keys were deleted or overwritten: it may reuse offsets.
        """
        if channel.state is not State.LIVE:
            return False
        mine = channel.position
        if position.epoch != mine.epoch:
            return True
        return position.offset > mine.offset or (
            known.epoch == position.epoch and position.offset < known.offset
        )

    def _repair(self, channel: Channel) -> None:
        if channel not in self._repairs:
            task = asyncio.ensure_future(self._fill(channel))
            self._repairs[channel] = task
            task.add_done_callback(lambda _: self._repair_done(channel))

    def _repair_done(self, channel: Channel) -> None:
        task = self._repairs.pop(channel)
        if not task.cancelled() and (error := task.exception()):
            log.error(
                "a gap could not be filled; the channel is checked again",
                exc_info=error,
                extra={"channel": channel.name},
            )
            self._check_wanted.set()
            channel.state = State.LIVE

    async def _fill(self, channel: Channel) -> None:
        retry = jittered()
        while channel.state is State.BEHIND:
            try:
                async with self._repair_slots:
                    done = await self._fill_once(channel)
            except REDIS_ERRORS as error:
                redis_outage.noticed("logs", error)
                await asyncio.sleep(next(retry))
                continue
            if done:
                before = channel.pending_bytes
                if channel.caught_up():
                    self.fan_out.enqueue(channel, channel.pending_bytes - before)
            self.fan_out.turn()

    async def _fill_once(self, channel: Channel) -> bool:
        start, aside = channel.position, channel.set_aside()
        try:
            replay = await self._reader.replay(channel.name, start)
        except BaseException:
            # Cancelled, too: what was set aside has not been sent.
            channel.put_back(aside)
            raise
        if not replay.exact:
            metrics.unrepaired.inc()
            log.error(
                "connected sockets lost publications: the log does not cover the gap",
                extra={"channel": channel.name, "from": str(start), "to": str(replay.now)},
            )
        before = channel.pending_bytes
        metrics.gaps_repaired.inc(channel.fill(replay.publications, replay.now, exact=replay.exact))
        if channel.pending_bytes > before:
            self.fan_out.enqueue(channel, channel.pending_bytes - before)
        return channel.position.offset >= replay.now.offset

    def _bound_inbound(self, waiting_bytes: int) -> None:
        metrics.pending_bytes.set(waiting_bytes)
        if self.subscription is None:
            return
        if waiting_bytes > self._inbound_max_bytes:
            self.subscription.pause()
        elif waiting_bytes < self._inbound_max_bytes // 2:
            self.subscription.go_on()
